/**
 * MMLU as a graded task: five-shot, the letter that is written.
 *
 * The first token of the answer is the answer, and it follows from the prompt alone: a policy that
 * compresses once the prompt is read cannot change it. Items therefore ask to compress before the
 * question: the subject's five examples are the prefix, and the question is read under the policy.
 *
 * @module
 */

import {
  gradeMmlu,
  mmlu,
  mmluHeader,
  mmluLetter,
  mmluQuestion,
  mmluSubjects,
  readMmluSubject,
} from "../mmlu.ts";
import { pickEntries, type Task } from "../task.ts";

/** 57 subjects, 14,042 questions; the score is the mean over questions. */
export const mmluTask: Task = {
  name: "mmlu",
  title: "MMLU",
  metric: "accuracy of the letter",
  files: mmlu.files,
  average: "items",
  async items({ folder, ...options }) {
    const subjects = await Promise.all(mmluSubjects().map((name) => readMmluSubject(folder, name)));
    const headers = new Map(subjects.map((subject) => [subject.name, mmluHeader(subject)]));
    const groups = new Map(subjects.map(({ name, items }) => [name, items]));
    return pickEntries(groups, options).map(({ group, index, entry }) => ({
      id: `${group}/${index}`,
      group,
      prefix: headers.get(group)!,
      turns: [mmluQuestion(entry)],
      isChat: false,
      compressAfter: "prefix",
      stops: ["\n"],
      maxTokens: 8,
      reference: entry.answer,
    }));
  },
  grade([answer = ""], { reference }) {
    const right = reference as "A" | "B" | "C" | "D";
    return {
      score: Number(gradeMmlu(answer, { answer: right })),
      extracted: mmluLetter(answer) ?? null,
    };
  },
};
