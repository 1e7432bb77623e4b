/**
 * A task of the embedded pair's world with short prompts, so that tests are quick.
 *
 * @module
 */

import { seededRandom } from "../../core/random.ts";
import { countTokens, type MicroworldTask } from "../../data/microworld.ts";
import { microworldItem } from "../../data/microworld.ts";
import type { Task, TaskItem } from "../../data/task.ts";

const KINDS: readonly MicroworldTask[] = ["ask", "route"];

/** Makes a task of two groups whose items have some 130 tokens; `more` replaces parts of it. */
export function shortTask(more: Partial<Task> & { readonly item?: Partial<TaskItem> } = {}): Task {
  const { item, ...task } = more;
  return {
    name: "short",
    title: "Short",
    metric: "exact answer",
    files: [],
    average: "items",
    items: ({ limit = 4 }) =>
      Promise.resolve(
        Array.from({ length: limit }, (_, index): TaskItem => {
          const group = KINDS[index % KINDS.length]!;
          const { prompt, answer } = microworldItem(group, seededRandom(index), {
            tokens: 130,
            facts: 3,
          });
          return {
            id: `${group}/${index}`,
            group,
            prefix: "",
            turns: [prompt],
            isChat: false,
            compressAfter: "prompt",
            stops: [],
            maxTokens: countTokens(answer) + 2,
            reference: answer,
            ...item,
          };
        }),
      ),
    grade: ([answer], { reference }) => ({
      score: Number(answer === reference),
      extracted: answer ?? null,
    }),
    ...task,
  };
}
