/**
 * BIG-Bench Hard as a graded task: three-shot chain of thought; items of a subtask share one header.
 *
 * @module
 */

import {
  bbh,
  BBH_MAX_TOKENS,
  BBH_STOP,
  bbhAnswer,
  bbhHeader,
  bbhQuestion,
  bbhTasks,
  gradeBbh,
  readBbhTask,
} from "../bbh.ts";
import { pickEntries, type Task } from "../task.ts";

/** 27 subtasks, 6,511 questions; the score is the mean over subtasks. */
export const bbhTask: Task = {
  name: "bbh",
  title: "BBH",
  metric: "exact match",
  files: bbh.files,
  average: "groups",
  async items({ folder, ...options }) {
    const tasks = await Promise.all(bbhTasks().map((name) => readBbhTask(folder, name)));
    const headers = new Map(tasks.map(({ name, exemplars }) => [name, bbhHeader(exemplars)]));
    const groups = new Map(tasks.map(({ name, items }) => [name, items]));
    return pickEntries(groups, options).map(({ group, index, entry }) => ({
      id: `${group}/${index}`,
      group,
      prefix: headers.get(group)!,
      turns: [bbhQuestion(entry.input)],
      isChat: false,
      compressAfter: "prompt",
      stops: [BBH_STOP],
      maxTokens: BBH_MAX_TOKENS,
      reference: entry.target,
    }));
  },
  grade([answer = ""], { reference }) {
    return {
      score: Number(gradeBbh(answer, String(reference))),
      extracted: bbhAnswer(answer) ?? null,
    };
  },
};
