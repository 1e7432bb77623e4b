import {
  assertEquals,
  assertNotEquals,
  assertNotStrictEquals,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import fc from "fast-check";
import { RequirementError } from "../../../core/check.ts";
import { SpeculativeSession } from "../../../decoding/engine/speculative_session.ts";
import { decayOf } from "../../../decoding/selection/sequence_settings.ts";
import { Session } from "../../../decoding/session/session.ts";
import type { StepReport } from "../../../decoding/engine/types.ts";
import { assertClose } from "../../support/assert_close.ts";
import { gpuBackend, testBackends } from "../../support/gpu.ts";
import {
  anyCase,
  decodePlainly,
  openCase,
  openSpeculation,
  type RunnableCase,
  type SpeculativeCase,
  spoiledDrafts,
} from "./speculative_cases.ts";

/** Steps of a case: the small ones are matched on the way. */
const STEPS = 12;

for (const backend of testBackends) {
  const runs = (numRuns: number) => ({ numRuns: backend === gpuBackend ? numRuns : numRuns / 2 });

  Deno.test(`SpeculativeSession without drafts is plain SmallKV, bit for bit, on ${backend}`, async () => {
    await fc.assert(
      fc.asyncProperty(anyCase(), async (sizes) => {
        const given = await openCase({ ...sizes, draftTokens: 0 }, backend);
        using session = await openSpeculation(given);
        for (const { token, report } of await decodePlainly(given, STEPS)) {
          assertEquals(await session.nextTokens(), [token]);
          assertEquals(await session.step({ logits: true }), report);
        }
      }),
      { ...runs(8), seed: 1 },
    );
  });

  Deno.test(`SpeculativeSession with selections per query decodes as plain SmallKV on ${backend}`, async () => {
    await fc.assert(
      fc.asyncProperty(anyCase(), async (sizes) => {
        const given = await openCase({ ...sizes, block: "per_query" }, backend);
        const plain = await decodePlainly(given, STEPS + 12);
        const tokens = plain.map(({ token }) => token);
        using session = await openSpeculation(given);
        let done = 0;
        for (let index = 0; done < STEPS; index++) {
          const wrong = sizes.wrong[index] ?? -1;
          const drafts = spoiledDrafts(tokens.slice(done + 1), sizes.draftTokens, wrong);
          const block = await session.block(wrong < 0 ? {} : { drafts });
          assertEquals(block.tokens, tokens.slice(done + 1, done + 1 + block.tokens.length));
          if (wrong >= 0) assertStrictEquals(block.accepted, Math.min(wrong, block.drafts.length));
          for (const row of block.rows) {
            const { selections, chosen, churn } = plain[done++]!.report;
            assertEquals([row.selections, row.chosen, row.churn], [selections, chosen, churn]);
          }
        }
      }),
      { ...runs(12), seed: 2 },
    );
  });

  Deno.test(`SpeculativeSession remembers the rows of accepted tokens only on ${backend}`, async () => {
    await fc.assert(
      fc.asyncProperty(anyCase(), async (sizes) => {
        const given = await openCase({
          ...sizes,
          promptTokens: Math.max(100, sizes.promptTokens),
        }, backend);
        using session = await openSpeculation(given);
        const start = await session.smallScores();
        const text: number[] = [];
        for (const wrong of sizes.wrong) {
          const [first] = await session.nextTokens();
          const own = wrong < 0 ? {} : { drafts: wrongDrafts(given, first!) };
          const block = await session.block(own);
          text.push(first!, ...block.tokens.slice(0, -1));
        }
        const actual = await session.smallScores();
        assertEquals(session.lengths[0], given.prompt.length + text.length);
        // Compared with a session that never drafts, bit for bit.
        using plain = await openSpeculation({
          ...given,
          options: { ...given.options, draftTokens: 0 },
        });
        for (const token of text) await plain.block({ tokens: [token] });
        assertEquals(actual, await plain.smallScores());
        // And with the column sums of the small model alone.
        assertClose(actual, await summedRows(given, { start, text }), {
          terms: 200,
          magnitude: Math.max(...actual),
        });
      }),
      { ...runs(8), seed: 3 },
    );
  });

  Deno.test(`SpeculativeSession with a shared selection computes what its rows report on ${backend}`, async () => {
    await fc.assert(
      fc.asyncProperty(anyCase(), async (sizes) => {
        const given = await openCase({
          ...sizes,
          block: "shared",
          options: { ...sizes.options, marginal: false, rest: "none" },
        }, backend);
        using session = await openSpeculation(given);
        using masked = new Session(given.pair.large, { ...given.options, masked: true });
        masked.setVisible(() => true);
        await masked.prefill(given.prompt);
        for (const wrong of sizes.wrong) {
          const [first] = await session.nextTokens();
          const own = wrong < 0 ? {} : { drafts: wrongDrafts(given, first!) };
          const block = await session.block({ ...own, logits: true });
          const tokens = [first!, ...block.tokens];
          for (const [row, report] of block.rows.entries()) {
            const logits = await runMasked(masked, tokens[row]!, report);
            assertClose(report.logits!, logits, { terms: 2000, magnitude: 1 });
            assertStrictEquals(report.chosen[0], tokens[row + 1]);
          }
          assertEquals(block.rows.length, block.accepted + 1);
          assertNotStrictEquals(block.tokens[block.accepted], block.drafts[block.accepted]);
        }
      }),
      { ...runs(6), seed: 4 },
    );
  });

  Deno.test(`SpeculativeSession is lossless for the compressed cache, not for the full one, on ${backend}`, async () => {
    const sizes: SpeculativeCase = { ...LOSSY, draftTokens: 4, block: "per_query" };
    const given = await openCase(sizes, backend);
    const compressed = await greedy(given);
    const full = { ...given, options: { ...given.options, budget: { ratio: 1 } } };
    const whole = await greedy(full);
    assertNotEquals(compressed, whole);
    // It drafts for itself, so that all drafts are accepted.
    const own = await openCase({ ...sizes, roles: ["large", "large"], ratio: 1 }, backend);
    using session = await openSpeculation(own);
    await session.step();
    const late = "logits of a block must be requested with its first step";
    await assertRejects(() => session.step({ logits: true }), RequirementError, late);
    const options = { ...given.options, match: { fitRows: 5 } };
    assertThrows(() => new SpeculativeSession(given.pair, options), RequirementError, "fitRows");
    const plain = await decodePlainly(given, STEPS);
    assertEquals(compressed, plain.map(({ report }) => report.chosen[0]));
    using exact = new Session(given.pair.large, given.options);
    await exact.prefill(given.prompt);
    assertEquals(whole, (await exact.decode(STEPS))[0]);
  });
}

/** A text that is continued differently with a tenth of the cache. */
const LOSSY: SpeculativeCase = {
  roles: ["large", "small"],
  text: 0,
  promptTokens: 220,
  policy: "smallkv",
  options: {},
  ratio: 0.1,
  draftTokens: 4,
  block: "per_query",
  wrong: [],
};

/** The tokens of some steps, drafted. */
async function greedy(given: RunnableCase): Promise<number[]> {
  using session = await openSpeculation(given);
  const tokens: number[] = [];
  for (let step = 0; step < STEPS; step++) tokens.push((await session.step()).chosen[0]!);
  return tokens;
}

/** Proposals that are almost never accepted. */
function wrongDrafts({ options }: RunnableCase, first: number): number[] {
  return Array.from({ length: options.draftTokens }, (_, place) => (first + place) % 700);
}

/** Runs one token of a session whose heads see what a row has seen. */
async function runMasked(
  masked: Session,
  token: number,
  { selections: [groups] }: StepReport,
): Promise<Float32Array> {
  const { layers, queryHeads } = masked.model.config;
  const seen = groups!.map(({ full }) => new Set(full));
  const groupHeads = layers * queryHeads / seen.length;
  masked.setVisible((head, position) => seen[Math.floor(head / groupHeads)]!.has(position));
  let logits = new Float32Array(0);
  await masked.prefill([token], {
    onLogits: (values) => {
      logits = values as Float32Array<ArrayBuffer>;
    },
  });
  return logits;
}

/** F' from the committed prompt and the text's rows, each summed by a session that only prefills. */
async function summedRows(
  { pair, prompt, options }: RunnableCase,
  { start, text }: { readonly start: Float32Array; readonly text: readonly number[] },
): Promise<Float32Array> {
  const total = prompt.length + text.length;
  using small = new Session(pair.small, { capacity: options.capacity, accumulate: true });
  await small.prefill(prompt, { logits: "none" });
  const heads = start.length / prompt.length;
  const scores = new Float32Array(heads * total);
  const decay = decayOf(options.policy);
  const add = (rows: Float32Array, tokens: number, factor: number) => {
    for (let head = 0; head < heads; head++) {
      for (let token = 0; token < tokens; token++) {
        const place = head * total + token;
        scores[place] = factor * scores[place]! + rows[head * tokens + token]!;
      }
    }
  };
  add(start, prompt.length, 1);
  for (const [index, token] of text.entries()) {
    small.clearAccumulated();
    await small.prefill([token], { logits: "none" });
    add(await small.accumulated(), prompt.length + index + 1, decay);
  }
  return scores;
}
