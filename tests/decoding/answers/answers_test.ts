import { assert, assertEquals, assertMatch, assertRejects, assertStrictEquals } from "@std/assert";
import { RequirementError } from "../../../core/check.ts";
import { embeddedPair } from "../../../data/embedded.ts";
import type { PolicySetting } from "../../../decoding/engine/settings.ts";
import {
  type Answer,
  answerAll,
  type AnswerAllOptions,
  type AnswerProgress,
  type AnswerRequest,
} from "../../../decoding/text/answers.ts";
import { generateAll } from "../../../decoding/text/generate.ts";
import type { Device } from "../../../gpu/device.ts";
import { openDevice } from "../../../gpu/open_device.ts";
import { loadModel } from "../../../models/load.ts";
import { embeddedModels } from "../../support/embedded_model.ts";
import { testBackends } from "../../support/gpu.ts";
import { evaluationItems } from "../../../data/microworld.ts";
import { microworldTask } from "../../../data/tasks/microworld.ts";
import { answerAlone } from "./alone.ts";
import { randomText } from "../../invariants/random_pair.ts";

const SETTINGS: readonly PolicySetting[] = [
  { policy: "full", budget: { ratio: 1 } },
  { policy: "h2o", budget: { ratio: 0.2 } },
  { policy: "smallkv", budget: { ratio: 0.2 } },
];

function request(key: string, more: Partial<AnswerRequest> = {}): AnswerRequest {
  return {
    ...{ key, prefix: randomText(1, 100), turns: [randomText(2, 30)], stopTexts: [] },
    ...{ maxTokens: 8, settings: [0, 1, 2], ...more },
  };
}

/** Options of a small run, most of which a test replaces. */
function optionsOf(more: Partial<AnswerAllOptions> = {}): AnswerAllOptions {
  return { settings: SETTINGS, requests: [request("one")], capacity: 140, slots: 3, ...more };
}

Deno.test("answerAll() writes the text that generate() writes, and ends it where that does", async () => {
  const pair = await embeddedModels("cpu");
  const [first, ...items] = evaluationItems("roll", { count: 4 }).map(({ prompt }) =>
    pair.large.tokenizer!.encode(prompt)
  );
  const prefix = first!.slice(0, 140);
  const requests = items.map((item, index) =>
    request(`${index}`, {
      ...{ prefix, turns: [item.slice(-60)], maxTokens: 24, settings: [2, 1] },
      stopTexts: index === 0 ? [] : ["e"],
    })
  );
  const capacity = prefix.length + 200;
  const ends = new Set<string>();
  for await (
    const { key, setting, turns, promptTokens } of answerAll(
      pair,
      optionsOf({ requests, capacity, slots: 2 }),
    )
  ) {
    const { turns: [turn], stopTexts } = requests.find((one) => one.key === key)!;
    const { policy, budget } = SETTINGS[setting]!;
    const prompt = [...prefix, ...turn!];
    const options = { policy, budget, maxNewTokens: 24, stopTexts };
    const { sequences: [alone] } = await generateAll(pair, prompt, options);
    const { end, ...answer } = turns[0]!;
    assertEquals(answer, alone!);
    assertStrictEquals(promptTokens, prompt.length);
    if (end === "limit") assertStrictEquals(answer.tokens.length, 24);
    ends.add(end);
  }
  assert(ends.has("stop"), [...ends].join());
});

Deno.test("answerAll() reports what it has run: a shared prefix once, every chosen token once", async () => {
  const pair = await embeddedModels("cpu");
  const prefix = randomText(1, 260);
  const requests = [1, 2, 3].map((seed) =>
    request(`${seed}`, { prefix, turns: [randomText(seed, 10 + seed)], maxTokens: 2 + seed })
  );
  const seen: AnswerProgress[] = [];
  const answers: Answer[] = await Array.fromAsync(
    answerAll(
      pair,
      optionsOf({ requests, capacity: 300, slots: 4, onProgress: (step) => seen.push(step) }),
    ),
  );
  const last = seen.at(-1)!;
  const rest = 260 % 128;
  assertStrictEquals(last.promptTokens, 256 + 3 * rest + 11 + 12 + 13);
  const tokens = answers.flatMap(({ turns }) => turns.flatMap((turn) => turn.tokens));
  assertStrictEquals(last.newTokens, tokens.length);
  assert(seen.every(({ busy, slots }) => busy <= slots && slots <= 4));
  assert(seen.some(({ busy }) => busy === 4));
  for (const { seconds } of answers) assert(seconds.prompt > 0 && seconds.decode > 0);
});

for (const backend of testBackends.filter((one) => one !== "reference")) {
  Deno.test(`answerAll() gives every answer when one prompt and one sequence fit at a time, on ${backend}`, async () => {
    const pair = await embeddedModels(backend);
    const settings: readonly PolicySetting[] = [
      { policy: "smallkv", budget: { ratio: 0.2 } },
      { policy: "tova", budget: { ratio: 0.2 }, options: { granularity: "query_head" } },
    ];
    const requests = [1, 1, 1, 3, 1].map((maxTokens, index) =>
      request(`${index}`, { turns: [randomText(index, 20)], maxTokens, settings: [0, 1] })
    );
    const options = optionsOf({ settings, requests, maxBytes: 1 });
    const { slots: _slots, ...bounded } = options;
    const answers = await Array.fromAsync(answerAll(pair, bounded));
    assertStrictEquals(answers.length, 10);
    for (const { key, setting, turns } of answers) {
      const { prefix, turns: [turn], maxTokens } = requests[Number(key)]!;
      const { policy, options: policyOptions = {}, budget } = settings[setting]!;
      const { sequences } = await generateAll(pair, [...prefix, ...turn!], {
        ...{ policy, policyOptions, budget, maxNewTokens: maxTokens },
      });
      assertEquals(turns[0]!.tokens, sequences[0]!.tokens);
    }
  });
}

Deno.test("answerAll() refuses what it cannot run before anything is run", async () => {
  const pair = await embeddedModels("cpu");
  const refuse = async (more: Partial<AnswerAllOptions>, message: string) => {
    const onProgress = () => {
      throw new Error("something was run");
    };
    const run = () => Array.fromAsync(answerAll(pair, optionsOf({ ...more, onProgress })));
    await assertRejects(run, RequirementError, message);
  };
  const second = (more: Partial<AnswerRequest>) => ({
    requests: [request("first"), request("second", more)],
  });
  await refuse(
    second({ maxTokens: 11 }),
    "Cannot answer second: its prompts and answers must fit the capacity, 140: current value is 130 + 1 x 11",
  );
  await refuse(second({ turns: [] }), "Cannot answer second: turns must be");
  await refuse(second({ turns: [[1], []] }), "Cannot answer second: tokens of a turn must be");
  await refuse(second({ settings: [3] }), "Cannot answer second: setting must be");
  await refuse(second({ turns: [[-1]] }), "Cannot answer second: token id must be");
  await refuse({ settings: [{ policy: "h2", budget: { ratio: 1 } }] }, "current value is h2");
  await refuse({ settings: [{ policy: "h2o", budget: { ratio: 2 } }] }, "current value is 2");
  await refuse({ slots: 0 }, "Cannot answer prompts: slots must be");
  await refuse({ capacity: 1e6 }, "capacity in tokens");
});

Deno.test("answerAll() yields what it has finished before a request of a stream that does not fit", async () => {
  const pair = await embeddedModels("cpu");
  let isClosed = false;
  async function* requests() {
    try {
      yield await Promise.resolve(request("fits"));
      yield request("long", { maxTokens: 11 });
    } finally {
      isClosed = true;
    }
  }
  const keys: string[] = [];
  const run = async () => {
    const options = optionsOf({ requests: requests(), slots: 1 });
    for await (const { key } of answerAll(pair, options)) keys.push(key);
  };
  await assertRejects(run, RequirementError, "Cannot answer long: ");
  assert(keys.every((key) => key === "fits"));
  assert(isClosed, "the stream is told that nobody reads on");
});

async function pairOn(device: Device) {
  const { large, small } = embeddedPair();
  return { large: await loadModel(large, { device }), small: await loadModel(small, { device }) };
}

const MAX_BYTES = 2 ** 30;

for (const end of ["abort", "break", "memory"] as const) {
  Deno.test(`answerAll() leaves no bytes behind after ${end}, and can be run again`, async () => {
    using device = await openDevice({ backend: "cpu", threads: 0, maxBytes: MAX_BYTES });
    const pair = await pairOn(device);
    const { liveBytes } = device.usage;
    const requests = ["one", "two", "three"].map((key, index) =>
      request(key, { maxTokens: 8 - 2 * index })
    );
    const stop = new AbortController();
    let ballast: Disposable | undefined;
    const run = async (onStep: () => void) => {
      const all: Answer[] = [];
      const options = optionsOf({ requests, signal: stop.signal, onProgress: onStep });
      for await (const answer of answerAll(pair, options)) {
        all.push(answer);
        if (end === "break") break;
      }
      return all;
    };
    let steps = 0;
    const disturb = () => {
      if (++steps !== 4) return;
      if (end === "abort") stop.abort(new Error("enough"));
      if (end !== "memory") return;
      const left = MAX_BYTES - device.usage.liveBytes - 64;
      ballast = device.createBuffer("ballast", left);
    };
    if (end === "break") {
      assertStrictEquals((await run(disturb)).length, 1);
    } else {
      const error = await assertRejects(() => run(disturb), Error);
      const expected = end === "abort" ? /^enough$/ : /^Cannot allocate .*need less$/;
      assertMatch(error.message, expected);
    }
    ballast?.[Symbol.dispose]();
    assertStrictEquals(device.usage.liveBytes, liveBytes);
    const options = optionsOf({ requests });
    assertStrictEquals((await Array.fromAsync(answerAll(pair, options))).length, 9);
    assertStrictEquals(device.usage.liveBytes, liveBytes);
  });
}

Deno.test("answerAll() answers a prompt the same after another answer in its place", async () => {
  const pair = await embeddedModels("cpu");
  const items = await microworldTask.items({ folder: "", limit: 68 });
  // Its answer under H2O depends on little: the attention that the text before had left behind changed it.
  const { prefix: header, turns: [text], maxTokens } = items.find(({ id }) => id === "qa/7")!;
  const settings = ["h2o", "tova", "pyramid_budget", "smallkv"].map((policy): PolicySetting => ({
    ...{ policy, budget: { ratio: 0.2 } },
  }));
  const turns = [pair.large.tokenizer!.encode(header + text!)];
  const requests = ["first", "again"].map((key) =>
    request(key, { prefix: [], turns, maxTokens, settings: [0, 1, 2, 3] })
  );
  const capacity = turns[0]!.length + maxTokens + 4;
  const answers = new Map<number, Set<string>>();
  for await (
    const { setting, turns: [turn] } of answerAll(pair, { settings, requests, capacity, slots: 4 })
  ) {
    answers.set(setting, (answers.get(setting) ?? new Set()).add(turn!.text));
  }
  assertEquals([...answers.values()].map(({ size }) => size), [1, 1, 1, 1]);
});

Deno.test("answerAll() ends an answer once it is settled, and only the last turn's", async () => {
  const pair = await embeddedModels("cpu");
  const [first, second] = evaluationItems("roll", { count: 2 }).map(({ prompt }) =>
    pair.large.tokenizer!.encode(prompt)
  );
  const turns = [first!.slice(0, 100), second!];
  const run = async (isSettled?: (text: string) => boolean) =>
    (await Array.fromAsync(answerAll(
      pair,
      optionsOf({
        requests: [
          request("one", { prefix: [], turns, settings: [0], ...(isSettled && { isSettled }) }),
        ],
        capacity: 100 + second!.length + 16,
      }),
    )))[0]!.turns;
  const [whole, last] = await run();
  const texts: string[] = [];
  const settled = await run((text) => texts.push(text) === 3);
  assertEquals(settled[0], whole);
  assertEquals(settled[1]!.tokens, last!.tokens.slice(0, 3));
  assertEquals(settled[1]!.end, "settled");
  assert(last!.text.startsWith(texts[2]!), texts[2]);
});

Deno.test("answerAll() fits maps, or matches by the cosine, as a session does that runs each prompt", async () => {
  const pair = await embeddedModels("cpu");
  const settings: readonly PolicySetting[] = [
    ...(["fitted", "cosine"] as const).map((matchBy) => (
      { policy: "smallkv", budget: { ratio: 0.2 }, matchBy }
    )),
    {
      ...{ policy: "smallkv_query_aware", options: { score: "row" }, budget: { ratio: 0.2 } },
      matchBy: "fitted",
    },
    { policy: "smallkv", budget: { ratio: 0.2 } },
  ];
  const prefix = randomText(1, 300);
  const requests = [1, 2, 3].map((seed) =>
    request(`${seed}`, {
      ...{ prefix, settings: [0, 1, 2, 3] },
      turns: [randomText(seed, 10 + seed), randomText(seed + 5, 9)],
      maxTokens: 4 + 3 * seed,
    })
  );
  const options = optionsOf({ settings, requests, capacity: 400 });
  const texts = new Set<string>();
  for await (const { key, setting, turns } of answerAll(pair, options)) {
    const request = requests.find((one) => one.key === key)!;
    const alone = await answerAlone(pair, request, settings[setting]!);
    assertEquals(turns.map(({ tokens }) => tokens), alone.turns, `${key} under ${setting}`);
    texts.add(JSON.stringify([key, alone.turns]));
  }
  assert(texts.size > 4, "settings must differ for this to say anything");
});

Deno.test("answerAll() takes no more memory than the device has", async () => {
  const folders = embeddedPair();
  using device = await openDevice({ backend: "cpu", maxBytes: 32 * 2 ** 20 });
  using large = await loadModel(folders.large, { device });
  using small = await loadModel(folders.small, { device });
  let slots = 0;
  const options = {
    settings: SETTINGS,
    capacity: 500,
    requests: Array.from({ length: 24 }, (_, k) => request(`${k}`, { maxTokens: 2 + k })),
    onProgress: (progress: AnswerProgress) => slots = Math.max(slots, progress.slots),
  };
  const answers = await Array.fromAsync(answerAll({ large, small }, options));
  assertEquals(answers.length, 72);
  assert(slots > 1, `${slots} at a time`);
});
