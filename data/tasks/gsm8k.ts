/**
 * GSM8K as a graded task: eight-shot chain of thought.
 *
 * All items share one header, the exemplars in the order of their paper. The score is the strict
 * rule's, the number after "The answer is"; the flexible rule's, the last number, is in the details.
 *
 * @module
 */

import {
  gradeGsm8k,
  gsm8k,
  GSM8K_MAX_TOKENS,
  GSM8K_STOP,
  gsm8kHeader,
  gsm8kPrompt,
  readGsm8k,
} from "../gsm8k.ts";
import { pickEntries, type Task } from "../task.ts";

/** 1,319 problems. */
export const gsm8kTask: Task = {
  name: "gsm8k",
  title: "GSM8K",
  metric: "exact match of the stated number",
  files: gsm8k.files,
  average: "items",
  async items({ folder, ...options }) {
    const { items, exemplars } = await readGsm8k(folder);
    const prefix = gsm8kHeader(exemplars);
    return pickEntries(new Map([["gsm8k", items]]), options).map(({ group, index, entry }) => ({
      id: String(index),
      group,
      prefix,
      turns: [gsm8kPrompt(entry.question, [])],
      isChat: false,
      compressAfter: "prompt",
      stops: [GSM8K_STOP],
      maxTokens: GSM8K_MAX_TOKENS.base,
      reference: entry.answer,
    }));
  },
  grade([answer = ""], { reference }) {
    const { strict, lenient, stated, last } = gradeGsm8k(answer, { answer: String(reference) });
    return {
      score: Number(strict),
      extracted: stated ?? null,
      details: { strict, flexible: lenient, ...(last !== undefined && { last }) },
    };
  },
};
