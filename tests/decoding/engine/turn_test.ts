import {
  assert,
  assertEquals,
  assertNotEquals,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { POLICIES } from "../../../cache/policies/mod.ts";
import { createPolicy, type PolicyOptions } from "../../../cache/policy_options.ts";
import { evaluationItems } from "../../../data/microworld.ts";
import type { ModelPair } from "../../../decoding/engine/types.ts";
import { PolicySession } from "../../../decoding/engine/policy_session.ts";
import { Session } from "../../../decoding/session/session.ts";
import { SpeculativeSession } from "../../../decoding/engine/speculative_session.ts";
import type { Backend } from "../../../gpu/device.ts";
import { assertClose } from "../../support/assert_close.ts";
import { embeddedModel } from "../../support/embedded_model.ts";
import { testBackends } from "../../support/gpu.ts";

const STORES = ["resident", "tiered"] as const;
const CAPACITY = 240;

async function pairOn(backend: Backend): Promise<Required<ModelPair>> {
  return {
    large: await embeddedModel("large", backend),
    small: await embeddedModel("small", backend),
  };
}

/** A prompt, the number of tokens decoded after it, and the next turn. */
async function text(promptTokens = 120) {
  const { tokenizer } = await embeddedModel("large", "reference");
  const ids = tokenizer!.encode(evaluationItems("qa", { count: 1 })[0]!.prompt);
  return {
    prompt: ids.slice(0, promptTokens),
    path: ids.slice(promptTokens, promptTokens + 3),
    turn: ids.slice(promptTokens + 3, promptTokens + 70),
  };
}

type Text = Awaited<ReturnType<typeof text>>;
type Options = Partial<ConstructorParameters<typeof PolicySession>[1]> & {
  readonly name: string;
  readonly ratio: number;
  readonly choices?: PolicyOptions;
};

function open(pair: ModelPair, { name, ratio, choices, ...rest }: Options): PolicySession {
  const policy = createPolicy(name, choices);
  return new PolicySession(
    pair,
    {
      capacity: CAPACITY,
      ...rest,
      policy,
      budget: { ratio },
    } as ConstructorParameters<typeof PolicySession>[1],
  );
}

/** Runs the prompt and decodes after it. */
async function begin(session: PolicySession, { prompt, path }: Text): Promise<void> {
  await session.prefill(prompt);
  for (const token of path) await session.step({ tokens: [token] });
}

/** Logits of some steps. */
async function decode(session: PolicySession, steps: number): Promise<Float32Array[]> {
  const logits: Float32Array[] = [];
  for (let step = 0; step < steps; step++) {
    logits.push((await session.step({ logits: true })).logits!);
  }
  return logits;
}

for (const backend of testBackends) {
  Deno.test(`Two turns are one prompt at full budget, whatever the policy, on ${backend}`, async () => {
    const pair = await pairOn(backend);
    const given = await text();
    using whole = new Session(pair.large, { capacity: CAPACITY });
    await whole.prefill([...given.prompt, ...given.path, ...given.turn]);
    const expected = [...await whole.nextTokens(), ...(await whole.decode(3))[0]!];
    const few = ["full", "streaming", "h2o", "smallkv"];
    for (const { name } of POLICIES) {
      if (backend === "reference" && !few.includes(name)) continue;
      for (const store of STORES) {
        using session = open(pair, { name, ratio: 1, store });
        await begin(session, given);
        await session.prefill(given.turn);
        const actual = await session.nextTokens();
        for (let step = 0; step < 3; step++) actual.push(...(await session.step()).chosen);
        assertEquals(actual, expected, `${name}, ${store}`);
      }
    }
  });

  Deno.test(`A turn gives TieredStore the bits of ResidentStore on ${backend}`, async () => {
    const pair = await pairOn(backend);
    const given = await text();
    for (const name of ["smallkv", "smallkv_query_aware", "h2o"]) {
      const logits: Float32Array[][] = [];
      for (const store of STORES) {
        using session = open(pair, { name, ratio: 0.2, store });
        await begin(session, given);
        await session.prefill(given.turn.slice(0, 20));
        const own = await decode(session, 2);
        await session.prefill(given.turn.slice(20, 30));
        logits.push([...own, ...await decode(session, 2)]);
      }
      assertEquals(logits[0], logits[1], name);
    }
  });

  Deno.test(`A turn sees every token where dropped ones may return, on ${backend}`, async () => {
    const pair = await pairOn(backend);
    const { prompt, turn } = await text();
    using whole = new Session(pair.large, { capacity: CAPACITY });
    let expected = new Float32Array(0);
    const keep = (row: Float32Array) => void (expected = row as Float32Array<ArrayBuffer>);
    await whole.prefill([...prompt, ...turn], { onLogits: keep });
    for (const store of STORES) {
      using session = open(pair, { name: "smallkv", ratio: 0.1, store });
      let actual = new Float32Array(0);
      await session.prefill(prompt);
      const onLogits = (row: Float32Array) => void (actual = row as Float32Array<ArrayBuffer>);
      await session.prefill(turn, { onLogits });
      assertClose(actual, expected, { terms: 2000, magnitude: 1 });
      const { selections } = await session.step();
      const { full, valueOnly } = selections[0]![0]!;
      assert(2 * full.length + valueOnly.length <= 0.2 * (prompt.length + turn.length + 1));
    }
  });

  Deno.test(`A turn leaves the small model with the scores of one long prompt on ${backend}`, async () => {
    const pair = await pairOn(backend);
    const { prompt, path, turn } = await text();
    const memories = [
      { score: "accumulated" },
      { score: "decayed", decay: 0.5 },
      { score: "row" },
    ] as const;
    for (const choices of memories) {
      const options = {
        policy: createPolicy("smallkv", choices),
        budget: { ratio: 0.2 },
        capacity: CAPACITY,
        draftTokens: 0,
      };
      using turns = new SpeculativeSession(pair, options);
      await turns.prefill(prompt);
      for (const token of path) await turns.block({ tokens: [token] });
      await turns.prefill(turn);
      using long = new SpeculativeSession(pair, options);
      await long.prefill([...prompt, ...path, ...turn]);
      const expected = await long.smallScores();
      // Decayed scores start from the last 32 rows of a prompt; older ones have weights below 2^-32.
      assertClose(await turns.smallScores(), expected, {
        terms: 400,
        magnitude: Math.max(...expected),
      });
    }
  });

  Deno.test(`A turn never gives H2O a token back on ${backend}`, async () => {
    const pair = await pairOn(backend);
    const given = await text();
    for (const store of STORES) {
      using session = open(pair, { name: "h2o", ratio: 0.2, store });
      await session.prefill(given.prompt);
      const { after } = await session.step();
      await session.prefill(given.turn);
      const { selections } = await session.step();
      selections[0]!.forEach(({ full }, group) => {
        const before = new Set(after![0]![group]!.full);
        for (const token of full) ok(token > given.prompt.length || before.has(token), token);
      });
    }
  });
}

function ok(holds: boolean, token: number): void {
  assert(holds, `token ${token} had been dropped`);
}

Deno.test("A turn keeps the match, unless heads are matched again after so many tokens", async () => {
  const pair = await pairOn(testBackends[0]!);
  const { prompt, turn } = await text();
  const selectionsBy = async (rematch?: number) => {
    const match = rematch === undefined ? {} : { rematch };
    using session = open(pair, { name: "smallkv", ratio: 0.2, match });
    await session.prefill(prompt);
    await session.step();
    await session.prefill(turn);
    return (await session.step()).selections;
  };
  const kept = await selectionsBy();
  assertEquals(await selectionsBy(turn.length + 10), kept);
  assertNotEquals(await selectionsBy(turn.length), kept);
});

Deno.test("A short prompt is matched when a turn makes the text long enough", async () => {
  const pair = await pairOn(testBackends[0]!);
  const { prompt, path, turn } = await text(60);
  using session = open(pair, { name: "smallkv", ratio: 0.2 });
  await begin(session, { prompt, path, turn });
  await session.prefill(turn);
  const { selections } = await session.step();
  const tokens = prompt.length + path.length + turn.length + 1;
  assert(selections[0]!.every(({ full }) => full.length < 0.3 * tokens));
});

Deno.test("A turn of one sequence leaves the others of its batch alone", async () => {
  const pair = await pairOn(testBackends[0]!);
  const { prompt, turn } = await text();
  const other = prompt.slice(10);
  const setting = { name: "smallkv", ratio: 0.2 };
  const run = async (hasTurn: boolean) => {
    using session = open(pair, { ...setting, sequences: 2 });
    await session.prefill(prompt);
    await session.prefill(other, { sequence: 1 });
    await session.step();
    if (hasTurn) await session.prefill(turn);
    const [next] = (await session.nextTokens()).slice(1);
    const { selections, chosen } = await session.step();
    return { next, selections: selections[1], chosen: chosen[1] };
  };
  assertEquals(await run(true), await run(false));
});

Deno.test("A turn that is aborted leaves the sequence as it was", async () => {
  const pair = await pairOn(testBackends[0]!);
  const given = await text();
  const logits: Float32Array[][] = [];
  for (const isStopped of [true, false]) {
    using session = open(pair, { name: "smallkv", ratio: 0.2, chunk: 16 });
    await begin(session, given);
    const next = await session.nextTokens();
    const controller = new AbortController();
    const options = { signal: controller.signal, onProgress: () => controller.abort("stop") };
    if (isStopped) {
      assertStrictEquals(await assertRejects(() => session.prefill(given.turn, options)), "stop");
      assertEquals(session.lengths, [123]);
    }
    const step = await session.step({ tokens: next, logits: true });
    logits.push([step.logits!]);
  }
  assertEquals(logits[0], logits[1]);
});

Deno.test("A turn says what does not fit", async () => {
  const pair = await pairOn("reference");
  const { prompt } = await text();
  using short = open(pair, { name: "smallkv", ratio: 0.2, capacity: 128 });
  await short.prefill(prompt);
  await assertRejects(
    () => short.prefill(prompt),
    Error,
    "number of tokens must be an integer from 1 to 7: current value is 120",
  );
  using batch = open(pair, { name: "h2o", ratio: 0.2, sequences: 2 });
  await batch.prefill(prompt);
  await assertRejects(
    () => batch.prefill([1, 2]),
    Error,
    "Cannot continue token by token: number of sequences must be an integer from 1 to 1: current value is 2",
  );
});

Deno.test("SpeculativeSession takes turns in the middle of a block as plain SmallKV does", async () => {
  const pair = await pairOn(testBackends[0]!);
  const { prompt, turn } = await text();
  const options = {
    policy: createPolicy("smallkv_query_aware"),
    budget: { ratio: 0.2 },
    capacity: CAPACITY,
  };
  using plain = new PolicySession(pair, options);
  using drafted = new SpeculativeSession(pair, { ...options, draftTokens: 5, block: "per_query" });
  for (const session of [plain, drafted]) await session.prefill(prompt);
  for (const steps of [2, 4, 3]) {
    for (let step = 0; step < steps; step++) {
      const [own, other] = [await plain.step(), await drafted.step()];
      assertEquals(other, own);
    }
    const next = await plain.nextTokens();
    const tokens = [...next, ...turn.slice(0, 12)];
    for (const session of [plain, drafted]) await session.prefill(tokens);
    assertEquals(await drafted.nextTokens(), await plain.nextTokens());
  }
});
