/**
 * Tests of the text that the training of the embedded pair reads.
 *
 * @module
 */

import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import embeddedJson from "../../data/embedded/large/tokenizer.json" with { type: "json" };
import {
  evaluationItems,
  GRADED_TASKS,
  MICROWORLD_TASKS,
  microworldSplit,
} from "../../data/microworld.ts";
import { createTokenizer } from "../../models/tokenizer/tokenizer.ts";
import {
  batchBytes,
  batchItems,
  trainingRow,
  wordEncoder,
} from "../../tools/train_pair/batches.ts";
import plan from "../../tools/train_pair/plan.json" with { type: "json" };
import { phaseText } from "../../tools/train_pair/write_text.ts";

const tokenizer = createTokenizer({ json: embeddedJson, config: {} });
const plain = (text: string) => tokenizer.encode(text, { addSpecialTokens: false });

for (const { name, steps } of plan.phases) {
  Deno.test(`batchItems() of phase ${name} draws no problem of the evaluation`, () => {
    const held = new Set(
      GRADED_TASKS.flatMap((task) => evaluationItems(task, { count: 100 }))
        .map(({ content }) => content),
    );
    for (let step = 0; step < steps; step += Math.ceil(steps / 12)) {
      const items = batchItems(phaseText(name), step);
      assert(items.length >= 8);
      for (const item of items) {
        assertEquals(microworldSplit(item), "training");
        assert(!held.has(item.content), item.content);
      }
    }
  });
}

Deno.test("batchItems() depends on phase and step alone", () => {
  const text = phaseText("retrieval");
  assertEquals(batchItems(text, 7), batchItems(text, 7));
  assertNotEquals(batchItems(text, 7), batchItems(text, 8));
  assertNotEquals(batchItems({ ...text, seed: 99 }, 7), batchItems(text, 7));
  assertMatch(
    String(assertThrows(() => batchItems(text, text.steps), Error)),
    /^RequirementError: Cannot draw a batch: step must/,
  );
});

Deno.test("batchItems() lengthens items as the phase proceeds", () => {
  const text = phaseText("retrieval");
  const longest = (step: number) =>
    Math.max(...batchItems(text, step).map((item) => plain(item.prompt + item.answer).length));
  const lengths = [0, text.steps / 2, text.steps - 1].map((share) => {
    const steps = [0, 1, 2, 3].map((offset) => Math.max(0, Math.floor(share) - offset));
    return Math.max(...steps.map(longest));
  });
  assert(lengths[0]! < 80 && lengths[0]! < lengths[2]!, String(lengths));
});

Deno.test("trainingRow() gives the tokens of the whole text, weighted by segment", () => {
  const encode = wordEncoder(plain);
  for (const item of batchItems(phaseText("small-end"), 3)) {
    const row = trainingRow(item, encode);
    assertEquals(row.ids, [0, ...plain(item.prompt + item.answer), 0]);
    assertEquals(row.weights.length, row.ids.length);
    assertEquals(row.weights[0], 0);
    assertEquals(row.weights.at(-1), 1);
    const written = row.ids.filter((_, index) => row.isAnswer[index]);
    assertEquals(written, item.answer === "" ? [] : [...plain(item.answer), 0]);
  }
});

Deno.test("batchBytes() lays rows out as the reader expects them", () => {
  const rows = [
    { task: "qa", ids: [0, 700, 0], weights: [0, 0.03, 1], isAnswer: [false, false, true] },
    { task: "story", ids: [0, 5], weights: [0, 0.3], isAnswer: [false, false] },
  ] as const;
  const bytes = batchBytes(rows);
  const view = new DataView(bytes.buffer);
  assertEquals([view.getUint32(0, true), view.getUint32(4, true)], [2, 3]);
  assertEquals([...bytes.slice(8, 10)].map((task) => MICROWORLD_TASKS[task]), ["qa", "story"]);
  const ids = Array.from({ length: 6 }, (_, index) => view.getInt16(10 + 2 * index, true));
  assertEquals(ids, [0, 700, 0, 0, 5, 0]);
  assertEquals([...bytes.slice(22, 28)], [0, 3, 100, 0, 30, 0]);
  assertEquals([...bytes.slice(28)], [0, 0, 1, 0, 0, 0]);
});

Deno.test("the plan trains each phase after the one it continues, both models from one ancestor", () => {
  const before = new Set<string>();
  for (const { name, after, model, grows } of plan.phases) {
    assert(after === null || before.has(after), name);
    const source = plan.phases.find((phase) => phase.name === after);
    assertStrictEquals(grows, source !== undefined && source.model !== model, name);
    before.add(name);
  }
  assertEquals(plan.phases.filter(({ after }) => after === null).length, 1);
});

Deno.test("phaseText() refuses a phase that the plan lacks", () => {
  assertMatch(
    String(assertThrows(() => phaseText("none"), Error)),
    /^UsageError: Cannot write training text: --phase must/,
  );
});
