import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { embeddedModel } from "../support/embedded_model.ts";
import { testBackends } from "../support/gpu.ts";
import { run, withFolder } from "./generate_run.ts";

interface Trace {
  readonly step: number;
  readonly layer: number;
  readonly kvHead: number;
  readonly queryHead?: number;
  readonly critical: number[];
  readonly recent: number[];
  readonly marginal: number[];
  readonly after?: number[];
}

const isAscending = (positions: readonly number[]) =>
  positions.every((position, index) => index === 0 || position > positions[index - 1]!);

Deno.test("generate without arguments answers a question of the micro-world", async () => {
  const { code, out } = await run(["--policy", "full", "--max-new", "12", "--stats"]);
  assert.equal(code, 0);
  assert.match(out, /^ Where is Uma\? In [A-Z][a-z]+\./);
  for (const line of ["time to first token", "time per new token", "new tokens per second"]) {
    assert.match(out, new RegExp(`^${line} +\\d`, "m"));
  }
  for (const line of ["large model", "host store", "tokens per tier", "migrated", "churn"]) {
    assert.match(out, new RegExp(`^${line}`, "m"));
  }
});

Deno.test("generate --json prints tokens, text, statistics and the steps to be traced", () =>
  withFolder(async (place) => {
    const words = ["--tokens", place("ids.json"), "--max-new", "4", "--ignore-end", "--json"];
    const { code, out } = await run([...words, "--trace", "1,4"]);
    assert.equal(code, 0);
    const { tokens, text, stats, trace } = JSON.parse(out);
    assert.equal(tokens.length, 4);
    const { tokenizer, config } = await embeddedModel("large", testBackends[0]!);
    assert.equal(text, tokenizer!.decode(tokens, { skipSpecialTokens: true }));
    assert.deepEqual(stats.promptTokens, [120]);
    assert.equal(stats.policy.name, "smallkv");
    assert.deepEqual(stats.budget, { ratio: 0.2 });
    const { layers, kvHeads } = config;
    const places = trace.map((entry: Trace) => [entry.step, entry.layer, entry.kvHead]);
    const expected = [1, 4].flatMap((step) =>
      Array.from({ length: layers * kvHeads }, (_, unit) => [
        step,
        Math.floor(unit / kvHeads),
        unit % kvHeads,
      ])
    );
    assert.deepEqual(places, expected);
    for (const { step, critical, recent, marginal } of trace as Trace[]) {
      // n = 121, H = 48 and n = 124, H = 49: c = 12, r = 6, m = 12 or 13
      assert.deepEqual([critical.length, recent.length, marginal.length], [
        12,
        6,
        step === 1 ? 12 : 13,
      ]);
      const newest = 120 + step - 1;
      assert.deepEqual(recent, Array.from({ length: 6 }, (_, age) => newest - 5 + age));
      assert.ok(isAscending(critical) && isAscending(marginal));
      assert.equal(new Set([...critical, ...recent, ...marginal]).size, 18 + marginal.length);
    }
  }));

Deno.test("generate --turns goes on with the answer's cache", () =>
  withFolder(async (place) => {
    await writeFile(place("turns.txt"), " Where is Uma?\n\n What ran by?\n");
    const words = ["--prompt", place("prompt.txt"), "--max-new", "3", "--ignore-end"];
    const turns = ["--turns", place("turns.txt")];
    const answers = JSON.parse((await run([...words, ...turns, "--json"])).out).turns;
    assert.deepEqual(answers.map(({ turn }: { turn: string }) => turn).slice(1), [
      " Where is Uma?",
      " What ran by?",
    ]);
    const counts = answers.map(({ stats }: { stats: { promptTokens: number[] } }) =>
      stats.promptTokens[0]
    );
    assert.ok(counts[0] > 50 && counts[1] < 12 && counts[2] < 12, `${counts}`);
    const { out } = await run([...words, ...turns, "--stats"]);
    for (const { text } of answers) assert.ok(out.includes(text));
    assert.match(out, /\n> {2}Where is Uma\?\n/);
    assert.equal(out.match(/time to first token/g)?.length, 3);
  }));

Deno.test("generate --speculate drafts where a policy has a helper, and says what came of it", () =>
  withFolder(async (place) => {
    const words = ["--tokens", place("ids.json"), "--max-new", "8", "--ignore-end", "--json"];
    const drafts = ["--speculate", "3", "--block", "per_query"];
    const plain = JSON.parse((await run([...words, "--trace", "1,5"])).out);
    const drafted = JSON.parse((await run([...words, "--trace", "1,5", ...drafts])).out);
    assert.deepEqual([drafted.tokens, drafted.trace], [plain.tokens, plain.trace]);
    assert.equal(plain.stats.speculation, undefined);
    assert.ok(drafted.stats.speculation.blocks < 7);
    const { out } = await run([...words, ...drafts, "--compare", "h2o,smallkv"]);
    const [full, h2o, smallkv] = JSON.parse(out).policies;
    assert.deepEqual([full.stats.speculation, h2o.stats.speculation], [undefined, undefined]);
    assert.deepEqual(smallkv.tokens, plain.tokens);
    const text = (await run([...words.slice(0, -1), ...drafts, "--stats"])).out;
    assert.match(text, /accepted drafts +\d+ of \d+, by place/);
    assert.match(text, /time of a block +small model \d+ %, plan \d+ %, large model \d+ %/);
  }));

Deno.test("generate --trace tells what remains where a policy drops tokens after a step", () =>
  withFolder(async (place) => {
    const words = ["--tokens", place("ids.json"), "--max-new", "2", "--ignore-end", "--json"];
    const { out } = await run([...words, "--policy", "h2o", "--trace", "1"]);
    for (const { critical, recent, after } of JSON.parse(out).trace as Trace[]) {
      // floor(0.2 * 120) = 24 were left by the prompt; attention also sees the newest one
      assert.equal(critical.length + recent.length, 25);
      assert.equal(after!.length, 24);
      assert.ok(recent.includes(120));
    }
  }));

Deno.test("generate --trace names query heads where each selects alone, and repeats a layer's selection", () =>
  withFolder(async (place) => {
    const words = ["--tokens", place("ids.json"), "--max-new", "2", "--ignore-end", "--json"];
    const { config } = await embeddedModel("large", testBackends[0]!);
    const layer = await run([...words, "--trace", "1", "--granularity", "layer"]);
    const trace = JSON.parse(layer.out).trace as Trace[];
    assert.equal(trace.length, config.layers * config.kvHeads);
    assert.deepEqual(trace[0]!.critical, trace[config.kvHeads - 1]!.critical);
    const heads = await run([...words, "--trace", "1", "--granularity", "query_head"]);
    assert.equal(JSON.parse(heads.out).trace.length, config.layers * config.queryHeads);
  }));

Deno.test("generate --reference-tokens adds the divergence of each step", () =>
  withFolder(async (place) => {
    const input = ["--tokens", place("ids.json"), "--ignore-end", "--json"];
    const reference = await run([...input, "--policy", "full", "--max-new", "5"]);
    await writeFile(place("reference.json"), reference.out);
    const forced = ["--reference-tokens", place("reference.json")];
    const full = JSON.parse((await run([...input, ...forced, "--policy", "full"])).out);
    assert.equal(full.kl.length, 5);
    assert.ok(full.kl.every((kl: number) => kl < 1e-6));
    assert.deepEqual(full.tokens, JSON.parse(reference.out).tokens);
    assert.deepEqual(full.chosen.slice(0, 4), full.tokens.slice(1));
    const words = [...input, ...forced, "--max-new", "3", "--budget", "8t", "--trace", "3"];
    const { kl, trace } = JSON.parse((await run(words)).out);
    assert.equal(kl.length, 3);
    assert.ok(kl.some((value: number) => value > 1e-5));
    assert.equal(trace[0].step, 3);
    const text = await run([...input.slice(0, 3), ...forced]);
    assert.match(text.out, /5 forced steps against the full cache: mean KL \d/);
  }));

Deno.test("generate --compare shows where each policy departs from the full cache", () =>
  withFolder(async (place) => {
    const words = ["--tokens", place("ids.json"), "--max-new", "8", "--ignore-end"];
    const list = ["--compare", "streaming,full,smallkv", "--budget", "6t", "--score", "row"];
    const { code, out } = await run([...words, ...list]);
    assert.equal(code, 0);
    assert.match(out, /^full:/m);
    assert.match(out, /^policy +departs +agreement +ROUGE-L/m);
    assert.match(out, /^full +never +1\.000 +1\.000/m);
    assert.match(out, /^streaming +(?:never|at \d)/m);
    const { policies } = JSON.parse((await run([...words, ...list, "--json"])).out);
    assert.deepEqual(
      policies.map((entry: { stats: { policy: { name: string } } }) => entry.stats.policy.name),
      ["full", "streaming", "smallkv"],
    );
    assert.equal(policies[2].stats.policy.score, "row");
    assert.equal(policies[0].quality.tokenAgreement, 1);
  }));

Deno.test("generate reads prompts from files and tells a missing file from a text", () =>
  withFolder(async (place) => {
    const words = ["--policy", "full", "--max-new", "2"];
    assert.equal((await run([...words, "--prompt", place("prompt.txt")])).code, 0);
    assert.equal((await run([...words, "--prompt", "The moon was full."])).code, 0);
    const missing = await run([...words, "--prompt", place("missing.txt")]);
    assert.equal(missing.code, 1);
    assert.match(missing.error, /Cannot read .*missing\.txt: the file must exist/);
    const chat = await run([...words, "--chat", "--prompt", "hello"]);
    assert.equal(chat.code, 1);
    assert.match(chat.error, /must come with a chat template, or be given plain text/);
  }));

Deno.test("generate says what is wrong with its options and ends with 2", async () => {
  const cases: [string[], RegExp][] = [
    [["--policy", "best"], /--policy must be one of full, h2o, .*: current value is best/],
    [["--compare", "full,best"], /--compare must list some of full, .*: current value is best/],
    [["--compare", "full", "--policy", "h2o"], /exclude each other/],
    [["--compare", "full,h2o", "--score", "row"], /options must be some of base, .*have score/],
    [["--compare", "h2o,smallkv", "--decay", "0.8"], /decay must go with score decayed/],
    [["--score", "best"], /--score must be one of accumulated, decayed, row/],
    [["--policy", "h2o", "--score", "row"], /options must be some of base, .*have score/],
    [["--policy", "h2o", "--no-marginal"], /options must be some of base, .*have marginal/],
    [["--policy", "full", "--sink", "4"], /options must be some of none: .*have sink/],
    [["--decay", "0.8"], /decay must go with score decayed: current value is accumulated/],
    [["--no-marginal", "--drop-marginal"], /exclude each other/],
    [["--no-marginal", "--combine", "joint"], /combine must go with marginal tokens/],
    [["--base", "prompt", "--budget", "64t"], /base prompt must go with a share of the cache/],
    [["--normalise", "columns"], /--normalise must be one of none, rows/],
    [
      ["--score", "decayed", "--decay", "1"],
      /decay must lie between 0 and 1, both excluded: current value is 1/,
    ],
    [["--combine", "oracle_eq6"], /--combine must be one of joint, /],
    [["--budget", "0"], /--budget must be a share above 0.*: current value is 0/],
    [["--budget", "1.5"], /current value is 1\.5/],
    [["--budget", "much"], /current value is much/],
    [["--budget=-0.2"], /current value is -0\.2/],
    [["--max-new", "0"], /--max-new must be an integer from 1 to/],
    [["--turns", "a", "--compare", "h2o"], /--turns and --compare exclude each other/],
    [["--turns", "a", "--json", "--trace", "1"], /--turns and --trace exclude each other/],
    [["--speculate", "16"], /--speculate must be an integer from 0 to 15: current value is 16/],
    [["--speculate", "2", "--policy", "h2o"], /--speculate: the policy must be .* smallkv/],
    [["--speculate", "2", "--compare", "h2o,tova"], /the policy must be one with a helper/],
    [["--speculate", "2", "--store", "tiered"], /--speculate: the store must be resident/],
    [["--speculate", "2", "--helper-layers", "1"], /must run all of its layers, .* value is 1/],
    [["--speculate", "2", "--reference-tokens", "a.json"], /exclude each other/],
    [["--block", "shared"], /--block must come with --speculate/],
    [["--speculate", "2", "--block", "one"], /--block must be one of shared, per_query/],
    [["--trace", "1"], /--trace must come with --json/],
    [["--json", "--trace", "0"], /--trace must list steps from 1 on/],
    [["--tokens", "a.json", "--prompt", "b"], /exclude each other/],
    [["--large", "l.gguf"], /--small must be given with --large for a policy with a helper/],
    [["--small", "s.gguf"], /--large must be given with --small/],
    [["--match-top", "0"], /--match-top must be a share above 0/],
    [["--match-top", "2"], /as 40t: current value is 2/],
    [["--match-side", "left"], /--match-side must be one of head, tail, tail_rows/],
    [["--match-map", "m.json", "--match-top", "40t"], /exclude each other/],
    [["--policy", "h2o", "--match-window", "150"], /--match-window must go with a policy that has/],
    [["--rematch", "0"], /--rematch must be an integer from 1 to/],
    [["--match-window", "50"], /--match-window must be an integer from 100 to/],
    [["--wings"], /options must be among --large, --small, /],
  ];
  for (const [words, message] of cases) {
    const { code, error } = await run(words);
    assert.match(error, message);
    assert.equal(code, 2, words.join(" "));
  }
});

Deno.test("generate refuses input that does not fit with 1", () =>
  withFolder(async (place) => {
    await writeFile(place("large.json"), "[0,768]");
    await writeFile(place("long.json"), JSON.stringify(Array(500).fill(1)));
    const cases: [string[], RegExp][] = [
      [["--tokens", place("large.json")], /token 1 must be an integer from 0 to 767/],
      [["--tokens", place("long.json"), "--max-new", "64"], /512: current value is 500 \+ 64/],
      [["--tokens", place("none.json")], /the file must exist/],
      [["--reference-tokens", place("large.json")], /token 1 must be an integer/],
    ];
    for (const [words, message] of cases) {
      const { code, error } = await run(words);
      assert.match(error, message);
      assert.equal(code, 1, words.join(" "));
    }
  }));

Deno.test("generate stopped by Ctrl-C ends with 130", async () => {
  const controller = new AbortController();
  controller.abort(new DOMException("Stopped by a signal", "AbortError"));
  const { code, error } = await run(["--policy", "full"], controller.signal);
  assert.equal(code, 130);
  assert.match(error, /Stopped\.$/m);
});

Deno.test("generate has help whose lines fit a screen", async () => {
  const { code, out } = await run(["--help"]);
  assert.equal(code, 0);
  assert.match(out, /Usage: deno task generate/);
  const long = out.split("\n").filter((line) => line.length > 110);
  assert.deepEqual(long, []);
});

Deno.test("generate --helper-budget and --helper-layers make the small model cheaper, and say by how much", () =>
  withFolder(async (place) => {
    const words = ["--tokens", place("ids.json"), "--max-new", "3", "--ignore-end", "--json"];
    const stats = async (...more: string[]) =>
      JSON.parse((await run([...words, ...more])).out).stats;
    const whole = await stats();
    const cut = await stats("--helper-budget", "40%", "--helper-layers", "2", "--store", "tiered");
    const { layers, kvHeads, headDim } = (await embeddedModel("small", testBackends[0]!)).config;
    assert.equal(whole.memory.small.cacheBytesIdeal, 4 * headDim * kvHeads * layers * 122);
    // floor(0.4 * 122) of 122 tokens
    assert.equal(cut.memory.small.cacheBytesIdeal, 4 * headDim * kvHeads * 2 * 48);
    assert.ok(cut.memory.small.cacheBytes < 0.3 * whole.memory.small.cacheBytes);
    assert.deepEqual([cut.helperBudget, cut.helperLayers], [{ ratio: 0.4 }, 2]);
    const compared = await run([...words, "--compare", "h2o,smallkv", "--helper-layers", "1"]);
    const { policies } = JSON.parse(compared.out);
    assert.deepEqual(
      policies.map(({ stats }: { stats: { helperLayers?: number } }) => stats.helperLayers),
      [undefined, undefined, 1],
    );
  }));

Deno.test("generate refuses helpers that are cut to nothing, and cuts of none", async () => {
  for (
    const [words, message] of [
      [["--helper-layers", "0"], /--helper-layers must be an integer/],
      [
        ["--helper-layers", "7"],
        /layers that run must be an integer from 1 to 3: current value is 7/,
      ],
      [["--helper-budget", "0"], /--helper-budget must be a share above 0/],
      [["--helper-budget", "120%"], /current value is 120%/],
      [
        ["--policy", "h2o", "--helper-layers", "2"],
        /--helper-layers must go with a policy that has a helper, such as smallkv: current value is h2o/,
      ],
      [["--compare", "h2o,tova", "--helper-budget", "0.4"], /--helper-budget must go with/],
    ] as const
  ) {
    const { code, error } = await run(words);
    assert.notEqual(code, 0);
    assert.match(error, message);
  }
});
