/**
 * Prompts that lose tokens from layer to layer, against a prompt that runs whole with those tokens hidden.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import type { Policy } from "../../../cache/policy.ts";
import { resolvePolicy } from "../../../cache/policy_options.ts";
import { window } from "../../../cache/scores/window.ts";
import { PolicySession } from "../../../decoding/engine/policy_session.ts";
import { Session } from "../../../decoding/session/session.ts";
import { spaced } from "../../../examples/own_policy.ts";
import { isCopy } from "../../../gpu/commands.ts";
import type { Model } from "../../../models/load.ts";
import { randomModel, VOCABULARY } from "../../invariants/random_pair.ts";
import { assertClose } from "../../support/assert_close.ts";
import { testBackends } from "../../support/gpu.ts";
import { observed } from "../../support/observed_model.ts";

const SHAPE = { layers: 4, kvHeads: 2, group: 2, headDim: 8, hasBias: true };
const TEXT = Array.from({ length: 130 }, (_, i) => (5 * i * i + 3 * i) % VOCABULARY);
/** Rows at the end whose attention is read; some of their tokens are dropped. */
const OBSERVED = 12;

/** Which tokens each layer passes on: some side by side and some alone, with gaps of all sizes up to 40. */
const PASSED: readonly ((position: number) => boolean)[] = [
  (position) => position % 3 > 0 || position === 0 || position > 126,
  (position) => position < 5 || position % 20 === 4 || position > 126,
  (position) => position < 2 || position === 44 || position === 104 || position === 129,
];
/** Tokens that reach each layer. */
const REACHED = [TEXT.map((_, position) => position)];
for (const isPassed of PASSED) REACHED.push(REACHED.at(-1)!.filter(isPassed));

/** What a pruned prompt computed. */
interface Result {
  readonly logits: Float32Array;
  /** Rows that the policy saw in each layer, oldest first, [layer][rows][tokens]. */
  readonly rows: readonly (readonly Float32Array[])[];
}

/** A model some of whose layers see only the newest positions. */
async function windowedModel(backend: (typeof testBackends)[number]): Promise<Model> {
  const model = await randomModel(backend, { shape: SHAPE, seed: 5 });
  const layerAttention = [{}, { window: 30 }, {}, { window: 60 }];
  return { ...model, config: { ...model.config, layerAttention } };
}

async function runPruned(large: Model, chunk: number): Promise<Result> {
  const rows: Float32Array[][] = [];
  const policy: Policy = {
    ...spaced,
    saliencySource: "large",
    score: window({ rows: () => OBSERVED, newestWeight: 1.2 }),
    candidates: "kept",
    timing: "after",
    isUnbounded: true,
    counts: ({ tokens }) => ({ sink: 0, recent: 1, critical: tokens - 1, marginal: 0 }),
    plan: ({ held }) => ({ full: held, valueOnly: new Uint32Array(0) }),
    prune({ layer, reached, rows: seen }) {
      assertEquals([...reached], REACHED[layer]);
      rows.push(seen.map((row) => row.slice()));
      return { kept: reached, next: Uint32Array.from(REACHED[layer + 1] ?? reached) };
    },
  };
  using session = new PolicySession({ large }, {
    policy: resolvePolicy(policy),
    budget: { ratio: 0.5 },
    capacity: 140,
    chunk,
  });
  let logits = new Float32Array();
  await session.prefill(TEXT, { onLogits: (row) => logits = row.slice() });
  return { logits, rows };
}

/** The same by a session that runs all rows through all layers. */
async function runHidden(large: Model): Promise<Result> {
  const { queryHeads, layers } = large.config;
  using session = new Session(large, { capacity: 140, chunk: 130, masked: true });
  const reached = REACHED.map((positions) => new Set(positions));
  session.setVisible((head, position) => reached[Math.floor(head / queryHeads)]!.has(position));
  const first = TEXT.length - OBSERVED;
  const rows = Array.from(
    { length: layers },
    () => Array.from({ length: OBSERVED }, () => new Float32Array(TEXT.length)),
  );
  let logits = new Float32Array();
  await session.prefill(TEXT, {
    onLogits: (row) => logits = row.slice(),
    heads: () => Array.from({ length: queryHeads }, (_, head) => head),
    onMap({ layer, keys, values }) {
      for (const [row, sum] of rows[layer]!.entries()) {
        if (!reached[layer]!.has(first + row)) continue;
        const start = (first + row) * keys;
        values.subarray(start, start + keys).forEach((value, key) =>
          sum[key]! += value / queryHeads
        );
      }
    },
  });
  return { logits, rows };
}

for (const backend of testBackends) {
  Deno.test(`a pruned prompt equals a whole one with the dropped tokens hidden, in layers with and without a window, on ${backend}`, async () => {
    using stack = new DisposableStack();
    const model = await windowedModel(backend);
    stack.defer(() => model.close());
    const expected = await runHidden(model);
    for (const chunk of [16, 130]) {
      const actual = await runPruned(model, chunk);
      assertClose(actual.logits, expected.logits, { terms: 4000, magnitude: 1 });
      for (const [layer, rows] of expected.rows.entries()) {
        assertEquals(actual.rows[layer]!.length, OBSERVED);
        for (const [row, attention] of rows.entries()) {
          assertClose(actual.rows[layer]![row]!, attention, { terms: 4000, magnitude: 1 });
        }
      }
    }
  });
}

Deno.test("a pruned prompt computes only the rows that reach a layer", async () => {
  using stack = new DisposableStack();
  const plain = await windowedModel("cpu");
  stack.defer(() => plain.close());
  for (const chunk of [16, 130]) {
    const { model, commands } = observed(plain);
    await runPruned(model, chunk);
    const rows = commands.map((command) =>
      !isCopy(command) && command.kernel.name === "rms_norm"
        ? (command.params as Record<string, number>).rows!
        : 0
    );
    const total = rows.reduce((sum, count) => sum + count, 0);
    assertEquals(total, 2 * REACHED.flat().length + 1, "two norms of a layer, and the last row's");
  }
});
