import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import type { CommandIo } from "../../cli/command.ts";
import { runCommandLine } from "../../cli/command_line.ts";
import { evaluateCommand } from "../../cli/evaluate.ts";
import { CLEARING } from "../../core/terminal_view.ts";
import { readRows } from "../../evaluation/answers_file.ts";
import type { Engine, OpenEngine } from "../../experiments/runner/engine.ts";
import { useChromium } from "../support/chromium.ts";
import { embeddedModel } from "../support/embedded_model.ts";
import { temporaryFolder } from "../support/model_writer.ts";

const openEngine: OpenEngine = () =>
  Promise.resolve({
    environment: {},
    openModel: async (role: "large" | "small") => {
      const { name, hash, fileTensorBytes, config } = await embeddedModel(role, "cpu");
      return { ...config, name, hash, fileTensorBytes, load: () => embeddedModel(role, "cpu") };
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  } as unknown as Engine);

async function run(words: readonly string[], more: Partial<CommandIo> = {}) {
  let out = "";
  const errors: string[] = [];
  const io: CommandIo = {
    out: (text) => out += text,
    error: (text) => errors.push(text),
    isInteractive: false,
    columns: () => 100,
    outColumns: () => 100,
    signal: new AbortController().signal,
    ...more,
  };
  using _ = useChromium("none");
  const command = evaluateCommand({ openEngine });
  const code = await runCommandLine([command], ["evaluate", ...words], io);
  return { code, out, errors, error: errors.join("") };
}

const FEW = ["--limit", "2", "--policies", "full,h2o", "--budgets", "0.3"];

Deno.test("evaluate writes answers, scores and figures, and continues, regrades and merges them", async () => {
  await using folder = await temporaryFolder();
  const place = (name: string) => join(folder.path, name);
  const first = await run([...FEW, "--out", place("a")]);
  assertEquals(first.code, 0, first.error);
  assertStringIncludes(first.out, "Micro-world: exact match");
  assertStringIncludes(first.error, "4/4 answers, 100%");
  const names = (await Array.fromAsync(Deno.readDir(place("a")))).map(({ name }) => name).sort();
  assertEquals(names, [
    ...[
      "answers.jsonl",
      "comparisons.json",
      "evaluation.json",
      "evaluation.md",
      "figures",
      "lock",
      "report.html",
    ],
  ]);
  const file = place("a/answers.jsonl");
  const { rows } = await readRows(file);
  assertEquals(rows.length, 4);
  const again = await run([...FEW, "--out", place("a"), "--json"]);
  assertEquals((await readRows(file)).rows, rows);
  const summary = JSON.parse(again.out);
  assertEquals(summary.cells.map(({ setting }: { setting: string }) => setting), ["full", "h2o"]);
  const regraded = await run(["--regrade", place("a"), "--json"]);
  assertEquals([regraded.code, JSON.parse(regraded.out)], [0, summary]);
  const { settings: [least] } = summary.totals.tasks[0];
  assertEquals(least.setting, "h2o");
  assert(least.cache.most <= 0.3);
  assertStringIncludes(first.out, "Micro-world at 50 % of the full cache in all: only h2o");
  const shards = await Promise.all(["1/2", "2/2"].map(async (shard, index) => {
    const out = place(`shard${index}`);
    assertEquals((await run([...FEW, "--shard", shard, "--out", out])).code, 0);
    return out;
  }));
  const merged = await run(["--merge", ...shards, "--out", place("b"), "--json"]);
  const withoutSeconds = (text: string) => text.replaceAll(/"seconds":[\d.e-]+/g, "");
  assertEquals(withoutSeconds(merged.out), withoutSeconds(again.out));
});

Deno.test("evaluate draws its table over itself on a screen", async () => {
  await using folder = await temporaryFolder();
  const { errors } = await run([...FEW, "--out", folder.path], { isInteractive: true });
  const drawn = errors.filter((text) => text.includes("microworld"));
  assert(drawn.length > 1 && drawn.every((text) => CLEARING.test(text)));
  const lines = drawn.at(-1)!.replace(CLEARING, "").split("\n");
  assertStringIncludes(lines[1]!, "4/4 answers");
  assertEquals(lines.find((line) => line.startsWith("full"))?.includes("2/2"), true);
  assert(lines.every((line) => line.length < 100));
});

Deno.test("evaluate says that it was stopped and continues", async () => {
  await using folder = await temporaryFolder();
  const stop = new AbortController();
  const words = [...FEW, "--limit", "12", "--out", folder.path];
  const isInteractive = true;
  const { code, error } = await run(words, {
    isInteractive,
    signal: stop.signal,
    get error() {
      return (text: string) => /^[1-9]\d?\/24 answers/m.test(text) && stop.abort(new Error("stop"));
    },
  });
  assertEquals([code, error], [130, ""]);
  const { rows } = await readRows(join(folder.path, "answers.jsonl"));
  assert(rows.length > 0 && rows.length < 24, String(rows.length));
  assertEquals((await run(words)).code, 0);
  assertEquals(
    (await readRows(join(folder.path, "answers.jsonl"))).rows.slice(0, rows.length),
    rows,
  );
});

Deno.test("evaluate refuses what it cannot do, in one sentence", async () => {
  await using folder = await temporaryFolder();
  const pair = ["--large", "l.gguf", "--small", "s.gguf"];
  const refusals: [string[], string][] = [
    [["gsm9k"], "tasks must be some of bbh, gsm8k, "],
    [["gsm8k"], "the embedded pair must be asked microworld"],
    [pair, "a task must be named with --large"],
    [["--small", "s.gguf"], "--large must be given with --small"],
    [["--policies", "h3o"], "--policies: policy must be one of "],
    [["--policies", "h2o:sinks=3"], "--policies: options must be written NAME=VALUE"],
    [["--budgets", "0.1,2x"], "--budgets: a budget must be a share above 0 and at most 1"],
    [["--policies", "full", "--budgets", "0.1"], "--budgets must go with a policy that compresses"],
    [["--policies", "h2o", "--own-small"], "--own-small must go with a policy that asks the small"],
    [["--policies", "h2o", "--seeds", "2"], "--seeds must go with a policy that draws"],
    [["--policies", "random:seed=4", "--seeds", "2"], "--seeds must go with a policy that draws"],
    [["--shard", "4/3"], "--shard must be a part and the number of parts, as 3/16"],
    [["--lengths", "1k"], "--lengths must list numbers of tokens"],
    [["--lengths", "1024"], "--lengths must go with ruler: current value is microworld"],
    [["--too-long", "leave out"], "--too-long must go with longbench: current value is microworld"],
    [["--accept-code", "abc"], "--accept-code must be any or hashes"],
    [["--merge", "--out", "x"], "--merge must name folders"],
    [["--merge", "x"], "--out must be given with --merge"],
    [["--merge", "x", "--out", "y", "--accept-code", "abc"], "--accept-code must be any or hashes"],
    [["--regrade", "x", "--accept-code", "abc"], "--accept-code must be any or hashes"],
    [["--regrade", "x", "y"], "--regrade must name one folder and no task"],
    [["--regrade", "x", "--out", "y"], "--regrade and --out exclude each other"],
    [["--merge", "x", "--out", "y", "--limit", "3"], "--merge and --limit exclude each other"],
    [["--merge", "x", "--out", "y", "--regrade", "x"], "--merge and --regrade exclude each other"],
    [["--budgets", ","], '--budgets must list at least one: current value is ","'],
    [["--lengths", " "], "--lengths must list at least one"],
    [["--accept-code", ","], "--accept-code must list at least one"],
    [["bbh", "--large", "l.gguf"], "--small must be given with --large for smallkv: "],
    [["bbh", "--large", "l.gguf", "--policies", "full", "--small-alone"], "--small must be given"],
  ];
  for (const [words, message] of refusals) {
    const { code, error, out } = await run(words);
    assertEquals([code, out], [2, ""], message);
    assertStringIncludes(error, `Cannot run evaluate: ${message}`);
  }
  const missing = join(folder.path, "missing");
  const none = await run(["--regrade", missing]);
  assertEquals(none.code, 1);
  assertStringIncludes(none.error, `Cannot use ${missing}: it must hold an evaluation`);
  assertEquals(await Array.fromAsync(Deno.readDir(folder.path)), []);
  const data = join(folder.path, "data");
  await Deno.mkdir(join(data, "gsm8k"), { recursive: true });
  await Deno.writeTextFile(join(data, "gsm8k", "test.jsonl"), "{}\n");
  const out = join(folder.path, "out");
  const wrong = await run(["gsm8k", ...pair, "--data", data, "--out", out]);
  assertEquals(wrong.code, 1);
  assertStringIncludes(wrong.error, "gsm8k/test.jsonl must have ");
});
