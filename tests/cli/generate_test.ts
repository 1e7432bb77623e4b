import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { writeFile } from "node:fs/promises";
import { embeddedModel } from "../support/embedded_model.ts";
import { testBackends } from "../support/gpu.ts";
import { run, withFolder } from "./generate_run.ts";

Deno.test("generate without arguments answers a question of the micro-world", async () => {
  const { code, out, error } = await run(["--policy", "full", "--max-new", "12", "--stats"]);
  assertEquals(code, 0);
  assertMatch(out, /^ Where is Uma\? In [A-Z][a-z]+\./);
  for (const line of ["prompt tokens per second", "new tokens per second"]) {
    assertMatch(out, new RegExp(`^${line} +\\d`, "m"));
  }
  for (const line of ["time to first token", "time per new token"]) {
    assertMatch(out, new RegExp(`^${line} +\\d+\\.\\d+ s`, "m"));
  }
  assertMatch(out, /^migrated per step +0 B$/m);
  assertEquals(error.includes("ended after"), false, "text is not the end");
  for (const line of ["large model", "host store", "tokens per tier", "migrated", "churn"]) {
    assertMatch(out, new RegExp(`^${line}`, "m"));
  }
});

Deno.test("generate --turns continues with the answer's cache", () =>
  withFolder(async (place) => {
    await writeFile(place("turns.txt"), " Where is Uma?\n\n What ran by?\n");
    const words = ["--prompt", place("prompt.txt"), "--max-new", "3", "--ignore-end"];
    const turns = ["--turns", place("turns.txt")];
    const answers = JSON.parse((await run([...words, ...turns, "--json"])).out).turns;
    assertEquals(answers.map(({ turn }: { turn: string }) => turn).slice(1), [
      " Where is Uma?",
      " What ran by?",
    ]);
    const counts = answers.map(({ stats }: { stats: { promptTokens: number[] } }) =>
      stats.promptTokens[0]
    );
    assert(counts[0] > 50 && counts[1] < 12 && counts[2] < 12, `${counts}`);
    const { out } = await run([...words, ...turns, "--stats"]);
    for (const { text } of answers) assert(out.includes(text));
    assertMatch(out, /\n> {2}Where is Uma\?\n/);
    assertEquals(out.match(/time to first token/g)?.length, 3);
  }));

Deno.test("generate --speculate drafts where a policy has a small model, and reports the outcome", () =>
  withFolder(async (place) => {
    const words = ["--tokens", place("ids.json"), "--max-new", "8", "--ignore-end", "--json"];
    const drafts = ["--speculate", "3", "--block", "per_query"];
    const plain = JSON.parse((await run([...words, "--trace", "1,5"])).out);
    const drafted = JSON.parse((await run([...words, "--trace", "1,5", ...drafts])).out);
    assertEquals([drafted.tokens, drafted.trace], [plain.tokens, plain.trace]);
    assertEquals(plain.stats.speculation, undefined);
    assert(drafted.stats.speculation.blocks < 7);
    const { out } = await run([...words, ...drafts, "--compare", "h2o,smallkv"]);
    const [full, h2o, smallkv] = JSON.parse(out).policies;
    assertEquals([full.stats.speculation, h2o.stats.speculation], [undefined, undefined]);
    assertEquals(smallkv.tokens, plain.tokens);
    const text = (await run([...words.slice(0, -1), ...drafts, "--stats"])).out;
    assertMatch(text, /accepted drafts +\d+ of \d+, by place/);
    assertMatch(text, /time of a block +small model \d+ %, plan \d+ %, large model \d+ %/);
  }));

Deno.test("generate --reference-tokens adds the divergence of each step", () =>
  withFolder(async (place) => {
    const input = ["--tokens", place("ids.json"), "--json"];
    const end = ["--ignore-end", "--max-new", "5"];
    const reference = await run([...input, "--policy", "full", ...end]);
    await writeFile(place("reference.json"), reference.out);
    const teacherForced = ["--reference-tokens", place("reference.json")];
    const full = JSON.parse((await run([...input, ...teacherForced, "--policy", "full"])).out);
    assertEquals(full.kl.length, 5);
    assert(full.kl.every((kl: number) => kl < 1e-6));
    assertEquals(full.tokens, JSON.parse(reference.out).tokens);
    assertEquals(full.chosen.slice(0, 4), full.tokens.slice(1));
    const words = [...input, ...teacherForced, "--max-new", "3", "--budget", "8t", "--trace", "3"];
    const { kl, trace } = JSON.parse((await run(words)).out);
    assertEquals(kl.length, 3);
    assert(kl.some((value: number) => value > 1e-5));
    assertEquals(trace[0].step, 3);
    const late = await run([...words.slice(0, -1), "4"]);
    assertEquals(late.code, 2);
    assertMatch(late.error, /steps up to the number of tokens that are forced, 3: .* is 4/);
    const text = await run([...input.slice(0, 2), ...teacherForced]);
    assertMatch(text.out, /5 teacher-forced steps against the full cache: mean KL \d/);
  }));

Deno.test("generate --compare shows where each policy departs from the full cache", () =>
  withFolder(async (place) => {
    const words = ["--tokens", place("ids.json"), "--max-new", "8", "--ignore-end"];
    const list = ["--compare", "streaming,full,smallkv", "--budget", "6t", "--score", "row"];
    const { code, out } = await run([...words, ...list]);
    assertEquals(code, 0);
    assertMatch(out, /^full:/m);
    assertMatch(out, /^policy +departs +agreement +ROUGE-L/m);
    assertMatch(out, /^full +never +1\.000 +1\.000 .* 100\.0 %$/m);
    assertMatch(out, /^streaming .* \d\.\d %$/m);
    assertMatch(out, /^streaming +(?:never|at \d)/m);
    const { policies } = JSON.parse((await run([...words, ...list, "--json"])).out);
    assertEquals(
      policies.map((entry: { stats: { policy: { name: string } } }) => entry.stats.policy.name),
      ["full", "streaming", "smallkv"],
    );
    assertEquals(policies[2].stats.policy.score.name, "last_row");
    assertEquals(policies[0].quality.tokenAgreement, 1);
  }));

Deno.test("generate says once where nothing was compressed", () =>
  withFolder(async (place) => {
    const words = ["--max-new", "3", "--ignore-end", "--policy", "h2o"];
    const note = "Nothing was compressed: h2o keeps every token below 100 (--minimum-tokens), and";
    const short = ["--prompt", "The moon was full."];
    assertMatch((await run([...words, ...short])).error, new RegExp(RegExp.escape(note)));
    const { error } = await run([...words, ...short, "--turns", "Who?\nWhere?"]);
    assertEquals(error.split(note).length, 2);
    const wide = await run([...words, "--tokens", place("ids.json"), "--budget", "5000"]);
    assertMatch(
      wide.error,
      /Nothing was compressed: the budget of h2o covers the whole text of 122 tokens/,
    );
    for (const more of [["--tokens", place("ids.json")], [...short, "--minimum-tokens", "4"]]) {
      assertEquals((await run([...words, ...more])).error.includes("Nothing was"), false);
    }
    const index = ["--policy", "key_sketch", "--charge", "total", "--budget", "0.5"];
    const paid = await run(["--max-new", "3", "--tokens", place("ids.json"), ...index]);
    assertEquals([paid.code, paid.error.includes("Nothing was")], [0, false]);
    const whole = await run([...words, ...short, "--budget", "1"]);
    assertEquals(whole.error.includes("Nothing was"), false);
  }));

Deno.test("generate --ahead runs steps before their tokens are read, which changes no text", () =>
  withFolder(async (place) => {
    const { device } = await embeddedModel("large", testBackends[0]!);
    await writeFile(place("turns.txt"), "Uma is in Holt.\nWho is in Holt?\n");
    const inputs = [
      ["--tokens", place("ids.json")],
      ["--prompt", "The moon", "--turns", place("turns.txt")],
    ];
    for (const words of inputs) {
      const runs = [];
      for (const ahead of ["1", "16"]) {
        const { reads } = device.usage;
        const { code, out } = await run([...words, "--max-new", "32", "--ahead", ahead]);
        assertEquals(code, 0);
        runs.push({ out, reads: device.usage.reads - reads });
      }
      assertEquals(runs[1]!.out, runs[0]!.out);
      assert(runs[1]!.reads < runs[0]!.reads, JSON.stringify(runs));
    }
  }));

Deno.test("generate draws tokens by seed, and takes the likeliest at top-k 1", () =>
  withFolder(async (place) => {
    const words = ["--tokens", place("ids.json"), "--max-new", "8", "--ignore-end", "--json"];
    const tokens = async (...more: string[]) => {
      const { out, error } = await run([...words, ...more]);
      assertMatch(out, /^\{/, error);
      return JSON.parse(out).tokens;
    };
    const greedy = await tokens();
    assertEquals(await tokens("--top-k", "1"), greedy);
    assertEquals(await tokens("--temperature", "0"), greedy);
    const drawn = await tokens("--temperature", "3", "--seed", "5");
    assertEquals(await tokens("--temperature", "3", "--seed", "5"), drawn);
    assertNotEquals(await tokens("--temperature", "3", "--seed", "6"), drawn);
    assertNotEquals(drawn, greedy);
  }));

Deno.test("generate stops once nobody reads what it writes", () =>
  withFolder(async (place) => {
    for (const more of [[], ["--turns", "Who?"], ["--compare", "h2o,tova", "--stats"]]) {
      const closed = new AbortController();
      let pieces = 0;
      const out = () => {
        pieces++;
        closed.abort(new DOMException("Nobody reads", "AbortError"));
      };
      const words = ["--tokens", place("ids.json"), "--max-new", "200", "--ignore-end", ...more];
      const input = more[0] === "--turns" ? words.slice(2) : words;
      const { signal } = new AbortController();
      const { code, error } = await run(input, signal, { out, outClosed: closed.signal });
      assertEquals([code, pieces], [0, 1], error);
    }
  }));

Deno.test("generate --turns refuses a file that does not exist", () =>
  withFolder(async (place) => {
    const { code, error } = await run(["--policy", "full", "--turns", place("none.txt")]);
    assertEquals(code, 1);
    assertMatch(error, /Cannot read .*none\.txt: the file must exist/);
  }));

Deno.test("generate reads prompts from files and tells a missing file from a text", () =>
  withFolder(async (place) => {
    const words = ["--policy", "full", "--max-new", "2"];
    assertEquals((await run([...words, "--prompt", place("prompt.txt")])).code, 0);
    assertEquals((await run([...words, "--prompt", "The moon was full."])).code, 0);
    const missing = await run([...words, "--prompt", place("missing.txt")]);
    assertEquals(missing.code, 1);
    assertMatch(missing.error, /Cannot read .*missing\.txt: the file must exist/);
    const chat = await run([...words, "--chat", "--prompt", "hello"]);
    assertEquals(chat.code, 1);
    assertMatch(chat.error, /must come with a chat template, or be given plain text/);
  }));

Deno.test("generate stopped by Ctrl-C ends with 130", async () => {
  const controller = new AbortController();
  controller.abort(new DOMException("Stopped by a signal", "AbortError"));
  const { code, error } = await run(["--policy", "full"], controller.signal);
  assertEquals(code, 130);
  assertMatch(error, /Stopped\.$/m);
});

Deno.test("generate has help whose lines fit a screen", async () => {
  const { code, out } = await run(["--help"]);
  assertEquals(code, 0);
  assertMatch(out, /Usage: deno task generate/);
  const long = out.split("\n").filter((line) => line.length > 110);
  assertEquals(long, []);
});

Deno.test("generate --helper-budget and --helper-layers make the small model cheaper, and say by how much", () =>
  withFolder(async (place) => {
    const words = ["--tokens", place("ids.json"), "--max-new", "3", "--ignore-end", "--json"];
    const stats = async (...more: string[]) =>
      JSON.parse((await run([...words, ...more])).out).stats;
    const whole = await stats();
    const cut = await stats("--helper-budget", "40%", "--helper-layers", "2", "--store", "tiered");
    const { layers, kvHeads, headDim } = (await embeddedModel("small", testBackends[0]!)).config;
    assertEquals(whole.memory.small.cacheBytesIdeal, 4 * headDim * kvHeads * layers * 122);
    // floor(0.4 * 122) of 122 tokens
    assertEquals(cut.memory.small.cacheBytesIdeal, 4 * headDim * kvHeads * 2 * 48);
    assert(cut.memory.small.cacheBytes < 0.3 * whole.memory.small.cacheBytes);
    assertEquals([cut.smallBudget, cut.smallLayers], [{ ratio: 0.4 }, 2]);
    const compared = await run([...words, "--compare", "h2o,smallkv", "--helper-layers", "1"]);
    const { policies } = JSON.parse(compared.out);
    assertEquals(
      policies.map(({ stats }: { stats: { smallLayers?: number } }) => stats.smallLayers),
      [undefined, undefined, 1],
    );
  }));

Deno.test("generate --compare prints texts on lines of their own, not behind progress", async () => {
  let screen = "";
  const write = (text: string) => void (screen += text);
  const signal = new AbortController().signal;
  const words = ["--compare", "full,h2o", "--budget", "0.2", "--max-new", "3"];
  await run(words, signal, { isInteractive: true, out: write, error: write });
  assertMatch(screen, /Generate/);
  for (const name of ["full", "h2o"]) {
    assertMatch(screen, new RegExp(`(?:\\n|\x1b\\[2K)${name}:\\n`));
  }
});
