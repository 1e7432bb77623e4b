import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { DataError, RequirementError } from "../../core/check.ts";
import {
  editSimilarity,
  LONGBENCH_TASKS,
  longBenchTask,
  parseMiniLongBench,
  readMiniLongBench,
  rougeL,
  scoreLongBench,
  tokenF1,
  truncateMiddle,
} from "../../data/longbench.ts";
import scores from "../fixtures/text_scores.json" with { type: "json" };
import { dataFolderOfTests } from "./data_folder.ts";

type Row = readonly [string, string, number, number, number];

Deno.test("tokenF1(), rougeL() and editSimilarity() agree with the usual packages", () => {
  for (const [output, reference, f1, rouge, edit] of scores as unknown as Row[]) {
    const name = JSON.stringify([output, reference]);
    assert(Math.abs(tokenF1(output, reference) - f1) < 1e-12, name);
    assert(Math.abs(rougeL(output, reference) - rouge) < 1e-12, name);
    assert(Math.abs(editSimilarity(output, reference) - edit) < 1e-12, name);
  }
});

Deno.test("text scores are 0 to 1, 1 on equal texts, and 0 against nothing", () => {
  const text = fc.array(fc.constantFrom("cat", "dog", "The", "x.", "7", "\n"), { maxLength: 12 })
    .map((parts) => parts.join(" "));
  for (const score of [tokenF1, rougeL, editSimilarity]) {
    fc.assert(
      fc.property(text, text, (a, b) => {
        const value = score(a, b);
        assert(value >= 0 && value <= 1);
        assertEquals(score("", b), 0);
        if (score(a, a) !== 0) assert(Math.abs(score(a, a) - 1) < 1e-7);
      }),
      { seed: 31, numRuns: 200 },
    );
  }
});

Deno.test("scoreLongBench() takes the best reference and the part of the output that counts", () => {
  const score = (name: string, output: string, answers: string[], classes: string[] = []) =>
    scoreLongBench(longBenchTask(name), output, { answers, classes });
  assertEquals(score("hotpotqa", "The Bob Dylan.", ["x", "Bob Dylan"]), 1);
  assertEquals(score("triviaqa", "\n55\nQuestion: 12", ["55"]), 1);
  assertEquals(
    score("trec", "Order, rank or Food", ["Food"], ["Food", "Order, rank", "Date"]),
    0.5,
  );
  assertEquals(score("trec", "Date of birth", ["Date of birth"], ["Date", "Date of birth"]), 1);
  assertEquals(score("trec", "Date", ["Food"], ["Food", "Date"]), 0);
  assertEquals(score("passage_retrieval_en", "Paragraph 19, not 3", ["Paragraph 19"]), 0.5);
  assertEquals(score("passage_count", "none", ["46"]), 0);
  assertEquals(score("lcc", "# comment\nreturn x\nmore", ["return x"]), 1);
  assertEquals(score("lcc", "// only\n`code`", ["return x"]), 0);
});

Deno.test("truncateMiddle() keeps both ends", () => {
  assertEquals(truncateMiddle([1, 2, 3, 4, 5, 6], 4), [1, 2, 5, 6]);
  assertEquals(truncateMiddle([1, 2, 3], 3), [1, 2, 3]);
  assertThrows(() => truncateMiddle([1], 1), RequirementError);
});

Deno.test("parseMiniLongBench() orders items and reads both forms of answers", () => {
  const text = JSON.stringify({
    "10": { origin_prompt: "b", gold: { answers: ["x"], all_classes: ["x", "y"] } },
    "2": { origin_prompt: "a", gold: ["1"] },
  });
  assertEquals(parseMiniLongBench(text, "f"), [
    { prompt: "a", answers: ["1"], classes: [] },
    { prompt: "b", answers: ["x"], classes: ["x", "y"] },
  ]);
});

Deno.test("parseMiniLongBench() fails with a clear error on any text", () => {
  const text = fc.oneof(fc.string(), fc.json());
  fc.assert(
    fc.property(text, (given) => {
      try {
        parseMiniLongBench(given, "f");
      } catch (error) {
        assert(error instanceof DataError);
      }
    }),
    { seed: 32, numRuns: 500 },
  );
});

Deno.test({
  name: "readMiniLongBench() reads every task of the subset",
  ignore: dataFolderOfTests === undefined,
  async fn() {
    const counts = [];
    for (const { name } of LONGBENCH_TASKS) {
      counts.push((await readMiniLongBench(dataFolderOfTests!, name)).length);
    }
    assertEquals(counts, [6, 9, 7, 13, 13, 7, 12, 6, 11, 8, 12, 15, 4, 15, 26, 23]);
  },
});
