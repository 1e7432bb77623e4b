/**
 * MT-Bench as a graded task, without a judge: how far an answer is from the full cache's.
 *
 * The score is ROUGE-L with the full cache's answer, mean over both turns; it measures agreement, not
 * quality, and is not comparable with the scores of a judge. In the details: words alike from the
 * start, the share of repeated 4-grams, length over the full cache's, and, where a reference states one
 * number, whether the last number of the answer is that number.
 *
 * @module
 */

import { commonWords, repeatedShare, wordRougeL } from "../answer_statistics.ts";
import { RequirementError } from "../../core/check.ts";
import { splitWords } from "../../core/python_text.ts";
import { MT_BENCH_MAX_TOKENS, mtBench, readMtBench } from "../mt_bench.ts";
import { pickEntries, type Task } from "../task.ts";

const NUMBER = /-?\d[\d,]*(?:\.\d+)?/g;

/** 80 questions of two turns in eight categories. */
export const mtBenchTask: Task = {
  name: "mt_bench",
  title: "MT-Bench",
  metric: "ROUGE-L with the full cache's answer, no judge",
  files: mtBench.files,
  average: "items",
  async items({ folder, ...options }) {
    const groups = Map.groupBy(await readMtBench(folder), ({ category }) => category);
    return pickEntries(groups, options).map(({ group, entry }) => ({
      id: String(entry.id),
      group,
      prefix: "",
      turns: entry.turns,
      isChat: true,
      compressAfter: "prompt",
      stops: [],
      maxTokens: MT_BENCH_MAX_TOKENS,
      reference: entry.turns.map((_, turn) => singleNumber(entry.references?.[turn]) ?? null),
    }));
  },
  grade(answers, { reference }, full) {
    if (full?.length !== answers.length) {
      throw new RequirementError({
        action: "grade MT-Bench",
        requirement: "the full cache's answers must be given, one for each turn",
        state: `value is ${full?.length ?? "none"} for ${answers.length} turns`,
      });
    }
    const mean = (of: (answer: string, turn: number) => number) =>
      answers.reduce((sum, answer, turn) => sum + of(answer, turn), 0) / answers.length;
    const words = (text: string) => splitWords(text).length;
    const numbers = reference as readonly (string | null)[];
    const asked = answers.flatMap((answer, turn) =>
      numbers[turn] == null ? [] : [lastNumber(answer) === numbers[turn]]
    );
    return {
      score: mean((answer, turn) => wordRougeL(answer, full[turn]!)),
      extracted: answers.map((answer) => lastNumber(answer) ?? "").join(" | "),
      details: {
        commonWords: mean((answer, turn) => commonWords(answer, full[turn]!)),
        repeated: mean(repeatedShare),
        lengthRatio: mean((answer, turn) => words(answer) / Math.max(1, words(full[turn]!))),
        numbersAsked: asked.length,
        numbersRight: asked.filter((isRight) => isRight).length,
      },
    };
  },
};

/** The number of a reference whose first line states just one; in other references it is not clear which counts. */
function singleNumber(reference = ""): string | undefined {
  const [line = ""] = reference.trim().split("\n");
  const found = line.match(NUMBER) ?? [];
  return found.length === 1 ? plain(found[0]!) : undefined;
}

function lastNumber(answer: string): string | undefined {
  const found = answer.match(NUMBER)?.at(-1);
  return found === undefined ? undefined : plain(found);
}

function plain(number: string): string {
  return String(Number(number.replaceAll(",", "")));
}
