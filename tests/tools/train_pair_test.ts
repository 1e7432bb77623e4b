/**
 * Tests of the text that the training of the embedded pair reads.
 *
 * @module
 */

import assert from "node:assert/strict";
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
      assert.ok(items.length >= 8);
      for (const item of items) {
        assert.equal(microworldSplit(item), "training");
        assert.ok(!held.has(item.content), item.content);
      }
    }
  });
}

Deno.test("batchItems() depends on phase and step alone", () => {
  const text = phaseText("retrieval");
  assert.deepEqual(batchItems(text, 7), batchItems(text, 7));
  assert.notDeepEqual(batchItems(text, 7), batchItems(text, 8));
  assert.notDeepEqual(batchItems({ ...text, seed: 99 }, 7), batchItems(text, 7));
  assert.throws(() => batchItems(text, text.steps), /^RangeError: Cannot draw a batch: step must/);
});

Deno.test("batchItems() lengthens items as the phase goes on", () => {
  const text = phaseText("retrieval");
  const longest = (step: number) =>
    Math.max(...batchItems(text, step).map((item) => plain(item.prompt + item.answer).length));
  const lengths = [0, text.steps / 2, text.steps - 1].map((share) => {
    const steps = [0, 1, 2, 3].map((offset) => Math.max(0, Math.floor(share) - offset));
    return Math.max(...steps.map(longest));
  });
  assert.ok(lengths[0]! < 80 && lengths[0]! < lengths[2]!, String(lengths));
});

Deno.test("trainingRow() gives the tokens of the whole text, weighted by segment", () => {
  const encode = wordEncoder(plain);
  for (const item of batchItems(phaseText("small-end"), 3)) {
    const row = trainingRow(item, encode);
    assert.deepEqual(row.ids, [0, ...plain(item.prompt + item.answer), 0]);
    assert.equal(row.weights.length, row.ids.length);
    assert.equal(row.weights[0], 0);
    assert.equal(row.weights.at(-1), 1);
    const written = row.ids.filter((_, index) => row.isAnswer[index]);
    assert.deepEqual(written, item.answer === "" ? [] : [...plain(item.answer), 0]);
  }
});

Deno.test("batchBytes() lays rows out as the reader expects them", () => {
  const rows = [
    { task: "qa", ids: [0, 700, 0], weights: [0, 0.03, 1], isAnswer: [false, false, true] },
    { task: "story", ids: [0, 5], weights: [0, 0.3], isAnswer: [false, false] },
  ] as const;
  const bytes = batchBytes(rows);
  const view = new DataView(bytes.buffer);
  assert.deepEqual([view.getUint32(0, true), view.getUint32(4, true)], [2, 3]);
  assert.deepEqual([...bytes.slice(8, 10)].map((task) => MICROWORLD_TASKS[task]), ["qa", "story"]);
  const ids = Array.from({ length: 6 }, (_, index) => view.getInt16(10 + 2 * index, true));
  assert.deepEqual(ids, [0, 700, 0, 0, 5, 0]);
  assert.deepEqual([...bytes.slice(22, 28)], [0, 3, 100, 0, 30, 0]);
  assert.deepEqual([...bytes.slice(28)], [0, 0, 1, 0, 0, 0]);
});

Deno.test("the plan trains each phase after the one it continues, both models from one ancestor", () => {
  const before = new Set<string>();
  for (const { name, after, model, grows } of plan.phases) {
    assert.ok(after === null || before.has(after), name);
    const source = plan.phases.find((phase) => phase.name === after);
    assert.equal(grows, source !== undefined && source.model !== model, name);
    before.add(name);
  }
  assert.equal(plan.phases.filter(({ after }) => after === null).length, 1);
});

Deno.test("phaseText() refuses a phase that the plan lacks", () => {
  assert.throws(() => phaseText("none"), /^UsageError: Cannot write training text: --phase must/);
});
