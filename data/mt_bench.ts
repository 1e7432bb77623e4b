/**
 * MT-Bench: 80 questions of two turns.
 *
 * @see {@link https://arxiv.org/abs/2306.05685 | Judging LLM-as-a-Judge}
 * @module
 */

import { type Dataset, isTexts, malformed, parseJsonLines, readDataFile } from "./dataset.ts";

/** A question of two turns. */
export interface MtBenchQuestion {
  /** Number from 81 to 160. */
  readonly id: number;
  /** One of eight. */
  readonly category: string;
  /** What the user says in each turn. */
  readonly turns: readonly string[];
  /** Answers of a strong model to each turn, for math, reasoning and coding. */
  readonly answers?: readonly string[];
  /** What people wrote as the right answer to each turn, for 39 questions; empty where they wrote none. */
  readonly references?: readonly string[];
}

/** Most tokens of an answer. */
export const MT_BENCH_MAX_TOKENS = 1024;

const QUESTIONS = "mt_bench/question.jsonl";
const ANSWERS = "mt_bench/reference_answer_gpt-4.jsonl";

/** Lines of the two files. */
interface QuestionLine {
  readonly question_id: number;
  readonly category: string;
  readonly turns: readonly string[];
  readonly reference?: unknown;
}
interface AnswerLine {
  readonly question_id: number;
  readonly choices: readonly { readonly turns: readonly string[] }[];
}

/**
 * Parses the questions and the reference answers.
 *
 * @param questions JSON lines of the questions.
 * @param answers JSON lines of the answers; may be empty.
 * @returns Questions in file order.
 * @throws {DataError} If a line has another form.
 */
export function parseMtBench(questions: string, answers: string): MtBenchQuestion[] {
  const known = new Map<number, readonly string[]>();
  parseJsonLines<Partial<AnswerLine> | null>(answers, ANSWERS).forEach((line, index) => {
    const turns = line?.choices?.[0]?.turns;
    if (!isTexts(turns)) {
      throw malformed(`${ANSWERS}, item ${index}`, "choices with turns", "another form");
    }
    known.set(Number(line?.question_id), turns);
  });
  return parseJsonLines<Partial<QuestionLine> | null>(questions, QUESTIONS).map((line, index) => {
    const { question_id: id, category, turns, reference } = line ?? {};
    if (!Number.isInteger(id) || typeof category !== "string" || !isTexts(turns)) {
      throw malformed(`${QUESTIONS}, item ${index}`, "a question with turns", "another form");
    }
    const found = known.get(id!);
    return {
      id: id!,
      category,
      turns,
      ...(found !== undefined && { answers: found }),
      ...(isTexts(reference) && { references: reference }),
    };
  });
}

/**
 * Reads the dataset.
 *
 * @returns The 80 questions.
 * @throws {DataError} If a file is missing or damaged.
 */
export async function readMtBench(folder: string): Promise<MtBenchQuestion[]> {
  return parseMtBench(await readDataFile(folder, QUESTIONS), await readDataFile(folder, ANSWERS));
}

/** Questions that have reference answers, both in `turns`: the others are too short to measure on. */
export const mtBench: Dataset = {
  name: "mt_bench",
  files: [QUESTIONS, ANSWERS],
  async texts(folder, limit) {
    const answered = (await readMtBench(folder)).filter(({ answers }) => answers !== undefined);
    return answered.slice(0, limit).map(({ id, category, turns, answers }) => {
      const parts = turns.map((turn, index) => `${turn}\n\n${answers![index] ?? ""}\n\n`);
      return { id: String(id), group: category, text: parts.join(""), turns: parts };
    });
  },
};
