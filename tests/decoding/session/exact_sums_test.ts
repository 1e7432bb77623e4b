/**
 * Tests of `decoding/session/exact_sums.ts`.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { ExactSums } from "../../../decoding/session/exact_sums.ts";
import { Session } from "../../../decoding/session/session.ts";
import { assertClose } from "../../support/assert_close.ts";
import { embeddedModel, someTokens } from "../../support/embedded_model.ts";
import { testBackends } from "../../support/gpu.ts";

const TEXT = 70;

for (const backend of testBackends) {
  Deno.test(`ExactSums sums the first rows as a cache in 32 bits does, and changes no bit of the prompt, on ${backend}`, async () => {
    const model = await embeddedModel("small", backend);
    const { layers, queryHeads } = model.config;
    const tokens = someTokens(TEXT);
    for (const [count, chunk] of [[TEXT, TEXT], [50, 16], [33, 64]] as const) {
      using exact = new Session(model, { capacity: count, accumulate: true, isExact: true });
      await exact.prefill(tokens.slice(0, count), { logits: "none" });
      const expected = await exact.accumulated();
      // In the second of two sequences, of which the first one is in use.
      using session = new Session(model, { capacity: TEXT + 1, chunk, sequences: 2 });
      await session.prefill(tokens.slice(0, 9), { logits: "none" });
      const logits: Float32Array[] = [];
      const onLogits = (row: Float32Array) => void logits.push(row.slice());
      using sums = new ExactSums(session.forward, count);
      await session.prefill(tokens, { sequence: 1, onLogits, exactSums: sums });
      const actual = await sums.read();
      // The first layer sees no cached attention yet; later ones see that of 16 bits.
      const first = queryHeads * count;
      assertClose(actual.subarray(0, first), expected.subarray(0, first), {
        terms: 200,
        magnitude: 2,
      });
      const largest = actual.reduce((max, x, i) => Math.max(max, Math.abs(x - expected[i]!)), 0);
      assert(largest < 0.02, `${largest}`);
      assertClose([actual.reduce((sum, x) => sum + x, 0)], [layers * first], {
        terms: actual.length,
        magnitude: count,
      });
      using plain = new Session(model, { capacity: TEXT + 1, chunk });
      await plain.prefill(tokens, { onLogits });
      assertEquals(logits[0], logits[1]);
    }
  });

  Deno.test(`ExactSums leaves the maps and queries that a prefill captures as they are, on ${backend}`, async () => {
    const model = await embeddedModel("small", backend);
    const tokens = someTokens(20);
    const capture = async (isSummed: boolean) => {
      using session = new Session(model, { capacity: 20 });
      using exactSums = new ExactSums(session.forward, 20);
      const seen: Float32Array[] = [];
      await session.prefill(tokens, {
        logits: "none",
        heads: () => [1],
        onMap: ({ values }) => void seen.push(values.slice()),
        onQueries: (_layer, _first, rows) => void seen.push(...rows.map((row) => row.slice())),
        ...(isSummed && { exactSums }),
      });
      if (isSummed) assert((await exactSums.read()).every((sum) => sum > 0));
      return seen;
    };
    assertEquals(await capture(true), await capture(false));
  });
}
