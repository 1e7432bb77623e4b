import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { POLICIES } from "../../cache/policies/mod.ts";
import { embeddedPair } from "../../data/embedded.ts";
import { evaluationItems } from "../../data/microworld.ts";
import { teacherForceSettings } from "../../decoding/forced/teacher_force_settings.ts";
import { generateAll } from "../../decoding/text/generate.ts";
import { endTokensOf } from "../../decoding/text/loop.ts";
import { ExplorerRun } from "../../explorer/engine/explorer_run.ts";
import { TIER } from "../../cache/token_tier.ts";
import { compareHeads } from "../../decoding/scoring/compare_heads.ts";
import { headMap } from "../../explorer/engine/head_map.ts";
import type { RunRequest, TrackStep } from "../../explorer/messages.ts";
import { openDevice } from "../../gpu/open_device.ts";
import { loadModel } from "../../models/load.ts";
import { RequirementError } from "../../core/check.ts";
import { matchHeads } from "../../analysis/head_match.ts";
import { Session } from "../../decoding/session/session.ts";
import { traceAttention } from "../../decoding/session/trace.ts";

/** About 150 tokens, so that tokens are dropped. */
const PROMPT = evaluationItems("route", { count: 1 })[0]!.prompt.slice(-560);
const NAMES = POLICIES.map(({ name }) => name).filter((name) => name !== "full");
const BUDGET = 0.2;

/** Three policies at a time, as on the page. */
const GROUPS = Array.from(
  { length: Math.ceil(NAMES.length / 3) },
  (_, group) => NAMES.slice(3 * group, 3 * group + 3),
);

async function openPair() {
  const device = await openDevice({ backend: "cpu", threads: 1 });
  const files = embeddedPair();
  const large = await loadModel(files.large, { device });
  const small = await loadModel(files.small, { device });
  return { large, small, [Symbol.dispose]: () => device[Symbol.dispose]() };
}

function request(change: Partial<RunRequest>): RunRequest {
  return {
    prompt: PROMPT,
    policies: [],
    options: {},
    store: "tiered",
    budget: BUDGET,
    reads: "own",
    newTokens: 8,
    ...change,
  };
}

/** Steps of each track, the prompt first. */
async function allSteps(run: ExplorerRun): Promise<TrackStep[][]> {
  const tracks = (await run.start()).map((step) => [step]);
  while (!run.isDone) {
    (await run.step()).forEach((step, place) => step && tracks[place]!.push(step));
  }
  return tracks;
}

/** Selections of KV heads, where a layer's heads may share one. */
function byHead<One>(
  { layers, kvHeads }: { readonly layers: number; readonly kvHeads: number },
  selections: readonly One[],
): One[] {
  const heads = layers * kvHeads;
  return Array.from(
    { length: heads },
    (_, head) => selections[Math.floor(head * selections.length / heads)]!,
  );
}

/** Positions with some tiers in a row of a step. */
function positions({ tiers, seen }: TrackStep, row: number, ...wanted: number[]): number[] {
  const numbers = tiers!.subarray(row * seen, (row + 1) * seen);
  return [...numbers.keys()].filter((position) => wanted.includes(numbers[position]!));
}

Deno.test("ExplorerRun writes what generateAll() writes under every policy", async () => {
  using pair = await openPair();
  for (const policies of GROUPS) {
    using run = new ExplorerRun(pair, request({ policies }));
    const tracks = await allSteps(run);
    for (const [place, policy] of ["full", ...policies].entries()) {
      const options = { policy, budget: policy === "full" ? 1 : BUDGET, maxNewTokens: 8 };
      const { sequences: [text] } = await generateAll(pair, PROMPT, options);
      assertEquals(tracks[place]!.map(({ next }) => next.id), text!.tokens, policy);
    }
  }
});

Deno.test("ExplorerRun keeps and diverges as teacherForceSettings() does under every policy", async () => {
  using pair = await openPair();
  const prompt = pair.large.tokenizer!.encode(PROMPT);
  for (const policies of GROUPS) {
    const kept: Record<string, unknown> = {};
    const runs = await teacherForceSettings(pair, { prompt }, {
      settings: policies.map((policy) => ({ policy, budget: { ratio: BUDGET } })),
      newTokens: 8,
      endTokens: endTokensOf(pair.large),
      onSelections: ({ setting, step, selections }) =>
        kept[`${setting} ${step}`] = byHead(pair.large.config, selections).map((
          { full, valueOnly },
        ) => ({
          full: [...full].sort((a, b) => a - b),
          valueOnly: [...valueOnly].sort((a, b) => a - b),
        })),
    });
    using run = new ExplorerRun(pair, request({ policies, reads: "full" }));
    const [, ...tracks] = await allSteps(run);
    tracks.forEach((steps, setting) => {
      const { kl } = runs[setting]!;
      // The order of tokens in a tiered store rounds differently.
      steps.forEach((step, index) => assertAlmostEquals(step.kl!, kl[index]!, 1e-4));
      steps.slice(1).forEach((step, index) => {
        const rows = step.tiers!.length / step.seen;
        const shown = Array.from({ length: rows }, (_, row) => ({
          full: positions(step, row, TIER.critical, TIER.recent),
          valueOnly: positions(step, row, TIER.marginal),
        }));
        assertEquals(shown, kept[`${setting} ${index}`], `${policies[setting]}, step ${index}`);
      });
    });
  }
});

Deno.test("ExplorerRun gives policies their options, also those that select for each query head", async () => {
  using pair = await openPair();
  const options = {
    h2o: { ties: "later", granularity: "query_head" },
    smallkv: { marginal: false, sink: 5 },
    quest: { page: 8, interval: 2 },
  } as const;
  const policies = Object.keys(options);
  using run = new ExplorerRun(pair, request({ policies, options }));
  const tracks = await allSteps(run);
  for (const [place, policy] of policies.entries()) {
    const policyOptions = options[policy as keyof typeof options];
    const wanted = { policy, policyOptions, budget: BUDGET, maxNewTokens: 8 };
    const { sequences: [text] } = await generateAll(pair, PROMPT, wanted);
    assertEquals(tracks[place + 1]!.map(({ next }) => next.id), text!.tokens, policy);
  }
  const { layers, kvHeads } = pair.large.config;
  const [alone, last] = tracks.slice(1, 3).map((steps) => steps.at(-1)!);
  assertEquals(alone!.tiers!.length, layers * kvHeads * alone!.seen);
  for (let row = 0; row < layers * kvHeads; row++) {
    assertEquals(positions(last!, row, TIER.recent).slice(0, 5), [0, 1, 2, 3, 4]);
    assertEquals(positions(last!, row, TIER.marginal), []);
  }
});

Deno.test("ExplorerRun holds nothing on the host where tokens stay on the device", async () => {
  using pair = await openPair();
  const hostBytes = async (store: "resident" | "tiered") => {
    using run = new ExplorerRun(pair, request({ policies: ["smallkv"], store, newTokens: 3 }));
    const [, steps] = await allSteps(run);
    return steps!.map(({ hostBytes }) => hostBytes);
  };
  assertEquals(await hostBytes("resident"), [0, 0, 0]);
  assert((await hostBytes("tiered")).at(-1)! > 0);
});

Deno.test("ExplorerRun.attend() adds up what tokens received on the text of each policy", async () => {
  using pair = await openPair();
  using run = new ExplorerRun(pair, request({ policies: ["h2o", "smallkv"], budget: 0.1 }));
  await run.start();
  const [first] = await run.attend([{ track: 1, from: 0 }]);
  assertEquals([first!.track, first!.steps.length], [1, 1]);
  for (let step = 0; step < 5; step++) await run.step();
  const received = await run.attend([{ track: 0, from: 2 }, { track: 1, from: 1 }]);
  const lengths = received.map(({ from, steps }) => from + steps.length);
  assertEquals(lengths, [0, 1].map((track) => 1 + run.readBy(track).length));
  const { layers, queryHeads, kvHeads } = pair.large.config;
  const prompt = pair.large.tokenizer!.encode(PROMPT);
  for (const { track, from, steps } of received) {
    const read = run.readBy(track);
    for (const [index, sums] of steps.entries()) {
      const tokens = [...prompt, ...read.slice(0, from + index)];
      const { accumulated } = await traceAttention(pair.large, tokens);
      assertEquals(sums.length, layers * kvHeads * tokens.length);
      const group = queryHeads / kvHeads;
      for (const [head, token] of [[0, 0], [5, 17], [layers * kvHeads - 1, tokens.length - 1]]) {
        let expected = 0;
        for (let one = 0; one < group; one++) {
          expected += accumulated[(head! * group + one) * tokens.length + token!]! / group;
        }
        assertAlmostEquals(sums[head! * tokens.length + token!]!, expected, 2e-3);
      }
    }
  }
});

Deno.test("ExplorerRun.attend() reads no prompt again where a text departs", async () => {
  using pair = await openPair();
  using run = new ExplorerRun(pair, request({ policies: ["h2o"], budget: 0.1 }));
  await run.start();
  const { prefill } = Session.prototype;
  let prompts = 0;
  try {
    Session.prototype.prefill = function (...args) {
      prompts++;
      return prefill.apply(this, args);
    };
    for (let step = 0; step < 6; step++) {
      await run.attend([0, 1].map((track) => ({ track, from: step })));
      await run.step();
    }
  } finally {
    Session.prototype.prefill = prefill;
  }
  assert(run.readBy(1).slice(0, -1).some((token, place) => token !== run.readBy(0)[place]));
  assertEquals(prompts, 1);
  const [own] = await run.attend([{ track: 1, from: run.readBy(1).length }]);
  const tokens = [...run.prompt, ...run.readBy(1)];
  const { accumulated } = await traceAttention(pair.large, tokens);
  const [seen, { queryHeads, kvHeads }] = [tokens.length, pair.large.config];
  const group = queryHeads / kvHeads;
  for (const token of [0, seen - 3, seen - 1]) {
    let expected = 0;
    for (let one = 0; one < group; one++) expected += accumulated[one * seen + token]! / group;
    assertAlmostEquals(own!.steps[0]![token]!, expected, 2e-3);
  }
});

Deno.test("ExplorerRun tells divergence until texts part, and bytes that the budget allows", async () => {
  using pair = await openPair();
  using run = new ExplorerRun(pair, request({ policies: ["h2o", "smallkv"], budget: 0.1 }));
  const [full, ...others] = await allSteps(run) as [TrackStep[], ...TrackStep[][]];
  assert(full.every(({ kl, hostBytes }) => kl === 0 && hostBytes === 0));
  for (const steps of others) {
    steps.forEach(({ kl }, step) => {
      const isSame = steps.slice(0, step).every(({ next }, at) => next.id === full[at]?.next.id) &&
        step < full.length;
      assertEquals(kl !== undefined, isSame, `step ${step}`);
    });
    const last = steps.at(-1)!;
    assert(last.deviceBytes < 0.15 * full.at(-1)!.deviceBytes);
  }
  assertEquals(others.map((steps) => steps.at(-1)!.hostBytes > 0), [false, true]);
  assertEquals(others.map((steps) => steps.at(-1)!.smallBytes > 0), [false, true]);
});

Deno.test("ExplorerRun refuses what it cannot run", async () => {
  using pair = await openPair();
  for (
    const change of [
      { prompt: " " },
      { newTokens: 600 },
      { policies: ["h2o", "tova", "snapkv", "r_kv"] },
      { policies: ["smallkv"], options: { smallkv: { decay: 0.5 } } },
      { policies: ["abacus"] },
    ]
  ) assertThrows(() => new ExplorerRun(pair, request(change)), RequirementError);
});

Deno.test("compareHeads() matches as matchHeads() does, and refuses what cannot be matched", async () => {
  using pair = await openPair();
  const tokens = pair.large.tokenizer!.encode(PROMPT).slice(0, 120);
  const { match, matched, large } = await compareHeads(pair, tokens);
  const traces = [
    await traceAttention(pair.large, tokens),
    await traceAttention(pair.small, tokens),
  ];
  const expected = matchHeads(traces[0]!, traces[1]!);
  assertEquals(match, expected.match);
  assertEquals(matched, { jaccard: expected.similarity, cosine: expected.cosine });
  assertEquals(large, traces[0]!.accumulated);
  await assertRejects(() => compareHeads(pair, tokens.slice(0, 50)), RequirementError);
  await assertRejects(() => compareHeads({ large: pair.large }, tokens), RequirementError);
});

Deno.test("headMap() has the rows of a head", async () => {
  using pair = await openPair();
  const tokens = pair.large.tokenizer!.encode(PROMPT);
  const { values, tokens: size } = await headMap(pair.large, tokens, { layer: 3, head: 5 });
  assertEquals(size, 64);
  for (let query = 0; query < size; query++) {
    const row = values.subarray(query * size, (query + 1) * size);
    assert(Math.abs(row.reduce((sum, value) => sum + value, 0) - 1) < 1e-5);
    assert(row.subarray(query + 1).every((value) => value === 0));
  }
});
