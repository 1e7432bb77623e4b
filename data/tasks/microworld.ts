/**
 * The micro-world as a graded task, for the embedded pair: facts to be looked up, generated.
 *
 * @module
 */

import { takeTurns } from "../dataset.ts";
import { countTokens, evaluationItems, GRADED_TASKS } from "../microworld.ts";
import { checkLimit, type Task, type TaskItem } from "../task.ts";

/** Most items of each kind. */
const PER_GROUP = 100;
/** The seed with which the recipe of the embedded pair was measured. */
const FIRST_SEED = 99;
/** Room for an answer that goes wrong by being too long. */
const SPARE_TOKENS = 4;

/** Seven kinds of questions; an answer counts if it is right to the last character. */
export const microworldTask: Task = {
  name: "microworld",
  title: "Micro-world",
  metric: "exact match",
  files: [],
  average: "groups",
  items({ seed = 0, limit = Infinity }) {
    checkLimit(limit);
    const count = Math.min(PER_GROUP, Math.ceil(limit / GRADED_TASKS.length));
    const kinds = GRADED_TASKS.map((group) =>
      evaluationItems(group, { count, seed: FIRST_SEED + seed }).map(
        ({ prompt, answer }, index): TaskItem => ({
          id: `${group}/${index}`,
          group,
          prefix: "",
          turns: [prompt],
          isChat: false,
          compressAfter: "prompt",
          stops: [],
          maxTokens: countTokens(answer) + SPARE_TOKENS,
          reference: answer,
        }),
      )
    );
    return Promise.resolve(takeTurns(kinds, limit));
  },
  grade([answer = ""], { reference }) {
    return { score: Number(answer === reference), extracted: answer === "" ? null : answer };
  },
};
