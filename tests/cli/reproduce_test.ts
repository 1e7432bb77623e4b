import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CommandIo } from "../../cli/command.ts";
import { runCommandLine } from "../../cli/command_line.ts";
import { reproduceCommand } from "../../cli/reproduce.ts";
import type { Experiment } from "../../experiments/experiment.ts";
import type { ReadModule } from "../../experiments/runner/code_hash.ts";
import { useChromium } from "../support/chromium.ts";
import { fakeEngine, fakeExperiment } from "./fake_engine.ts";

async function withFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "reproduce-"));
  try {
    await test(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

interface RunResult {
  readonly code: number;
  readonly out: string;
  readonly error: string;
  readonly traces: number;
}

/** Runs the command in this process. */
async function run(
  words: readonly string[],
  experiments: readonly Experiment[] = [fakeExperiment("first"), fakeExperiment("second")],
  readModule?: ReadModule,
): Promise<RunResult> {
  let out = "";
  let error = "";
  let traces = 0;
  const io: CommandIo = {
    out: (text) => out += text,
    error: (text) => error += text,
    isInteractive: false,
    columns: () => 100,
    outColumns: () => Infinity,
    signal: new AbortController().signal,
  };
  const command = reproduceCommand({
    openEngine: fakeEngine({ onTrace: () => traces++ }),
    experiments,
    ...(readModule && { readModule }),
  });
  using _ = useChromium("none");
  const code = await runCommandLine([command], ["reproduce", ...words], io);
  return { code, out, error, traces };
}

Deno.test("reproduce decodes a pair of one's own under policies only if asked to", async () => {
  const experiments = [fakeExperiment("first"), {
    ...fakeExperiment("second"),
    usesPolicies: true,
  }];
  const pair = ["--large", "a", "--small", "b"];
  const ran = async (...words: string[]) => {
    let names: string[] = [];
    await withFolder(async (folder) => {
      const { out } = await run([...words, "--out", folder], experiments);
      const { experiments: listed } = JSON.parse(out.trim().split("\n").at(-1)!);
      names = listed.map(({ name }: { name: string }) => name);
    });
    return names;
  };
  assert.deepEqual(await ran(), ["first", "second"]);
  assert.deepEqual(await ran(...pair), ["first"]);
  assert.deepEqual(await ran(...pair, "--policies"), ["first", "second"]);
  assert.deepEqual(await ran("second", ...pair), ["second"]);
});

/** Every file below a folder. */
async function files(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) =>
    join(entry.parentPath, entry.name)
  );
}

Deno.test("reproduce writes results, prints the table and ends with one line of JSON", () =>
  withFolder(async (folder) => {
    const { code, out } = await run(["--out", folder, "--seed", "7"]);
    assert.equal(code, 0);
    const lines = out.trimEnd().split("\n");
    assert.match(lines[0]!, /^claim +paper +ours \(95 % interval\) +verdict +seconds$/);
    assert.match(lines[2]!, /^C00 mean of made-up numbers .* 6 .*\[.*\] +reproduced +\d/);
    const last = JSON.parse(lines.at(-1)!);
    assert.equal(last.counts.reproduced, 2);
    assert.equal(last.exitCode, 0);
    assert.equal(last.counts["not run"], 64); // the made-up claim is none of the paper's
    assert.deepEqual(last.untouched[1], {
      id: "C02",
      paper: 0.947,
      ours: null,
      verdict: "not run",
    });
    assert.match(out, /^C02 mean cosine of matched heads \(Fig\. 1c\) +0\.947 +– +not run$/m);
    const report = await readFile(join(folder, "smoke", "report.html"), "utf8");
    assert.match(report, /<strong>64<\/strong> <span class="verdict other">not run/);
    assert.match(report, /C64 SmallKV ahead on nearly all pairs/);
    const record = JSON.parse(await readFile(join(folder, "smoke", "first.json"), "utf8"));
    assert.equal(record.seed, 7);
    assert.equal(record.environment.adapter, "made up");
    assert.deepEqual(record.models.large, { name: "fake large", hash: "hash-of-fake large" });
    assert.equal(record.environment.versions.deno, Deno.version.deno);
    assert.equal(record.claims[0].ours.n, 4);
    assert.equal(record.command, `deno task reproduce first --seed 7 --out ${folder}`);
  }));

Deno.test("reproduce skips what is finished, and --force does not", () =>
  withFolder(async (folder) => {
    assert.equal((await run(["--out", folder])).traces, 8);
    const path = join(folder, "smoke", "first.json");
    const before = (await stat(path)).mtimeMs;
    const again = await run(["--out", folder]);
    assert.equal(again.traces, 0);
    assert.equal((await stat(path)).mtimeMs, before);
    assert.equal(JSON.parse(again.out.trimEnd().split("\n").at(-1)!).experiments[0].status, "kept");
    await rm(join(folder, ".cache"), { recursive: true });
    assert.equal((await run(["--out", folder])).traces, 0);
    assert.equal((await run(["--out", folder, "--force"])).traces, 8);
  }));

Deno.test("reproduce measures again for another seed, scale, pair or code", () =>
  withFolder(async (folder) => {
    await run(["--out", folder, "first"]);
    const pair = ["--large", "a", "--small", "b"];
    assert.equal((await run(["--out", folder, "first", ...pair])).traces, 4);
    assert.equal((await run(["--out", folder, "first", ...pair])).traces, 0);
    assert.equal((await run(["--out", folder, "first"])).traces, 0);
    const names = await readdir(join(folder, "smoke"));
    assert.equal(names.filter((name) => name.startsWith("a_b_")).length, 1);
    // Texts are the same, so traces are found; units and results are not.
    const changed: ReadModule = async (module) => {
      const text = await readFile(module, "utf8");
      return module.href.endsWith("fake_engine.ts") ? `${text}\nconst more = 1;\n` : text;
    };
    const result = await run(["--out", folder, "first"], undefined, changed);
    assert.match(result.out, /"status":"finished"/);
    assert.match((await run(["--out", folder, "first", "--seed", "2"])).out, /"status":"finished"/);
    await run(["--out", folder, "first", "--scale", "small"]);
    assert.ok((await files(join(folder, "small"))).some((path) => path.endsWith("first.json")));
  }));

Deno.test("reproduce measures again after a change of a kernel, not of its comments", () =>
  withFolder(async (folder) => {
    const changed = new Map<string, (text: string) => string>();
    const readModule: ReadModule = async (module) => {
      const text = await readFile(module, "utf8");
      return changed.get(module.pathname.split("/").at(-1)!)?.(text) ?? text;
    };
    const again = () => run(["--out", folder], undefined, readModule);
    assert.equal((await again()).traces, 8);
    assert.equal((await again()).traces, 0);
    changed.set("rms_norm.wgsl", (text) => `// Other words.\n${text}`);
    assert.equal((await again()).traces, 0);
    changed.set("rms_norm.wgsl", (text) => text.replace("value * value", "value"));
    const { traces, out } = await again();
    assert.equal(traces, 8);
    assert.match(out, /"status":"finished"/);
    changed.clear();
    assert.equal((await again()).traces, 0);
    changed.set("matmul_source.ts", (text) => `${text}\nexport const more = 1;\n`);
    assert.equal((await again()).traces, 8);
  }));

Deno.test("reproduce ends with 1 where a module of its results cannot be read", () =>
  withFolder(async (folder) => {
    const readModule: ReadModule = (module) =>
      readFile(module.href.endsWith("/trace.ts") ? new URL("gone.ts", module) : module, "utf8");
    const { code, error, traces } = await run(["--out", folder], undefined, readModule);
    assert.equal(code, 1);
    assert.equal(traces, 0);
    assert.match(
      error,
      /^Cannot identify the code of a result: module .*trace\.ts must be readable/m,
    );
  }));

Deno.test("reproduce computes damaged cache files and results again", () =>
  withFolder(async (folder) => {
    const whole = await run(["--out", folder]);
    for (const path of await files(folder)) {
      if (!path.endsWith("lock")) await writeFile(path, "damaged");
    }
    const again = await run(["--out", folder]);
    assert.equal(again.code, 0, again.error);
    assert.equal(again.traces, 8);
    const table = (text: string) => text.split("\n").slice(0, 4).map((line) => line.slice(0, 80));
    assert.deepEqual(table(again.out), table(whole.out));
  }));

Deno.test("reproduce --strict ends with 3 when a comparable claim differs", () =>
  withFolder(async (folder) => {
    const experiments = [fakeExperiment("first", { claim: { paper: 100 } })];
    assert.equal((await run(["--out", folder], experiments)).code, 0);
    const strict = await run(["--out", folder, "--strict"], experiments);
    assert.equal(strict.code, 3);
    assert.match(strict.out, / differs /);
    const absolute = [fakeExperiment("first", { claim: { paper: 100, kind: "absolute" } })];
    assert.equal((await run(["--out", folder, "--strict"], absolute)).code, 0);
  }));

Deno.test("reproduce goes on after a failed experiment and ends with 1", () =>
  withFolder(async (folder) => {
    const experiments = [fakeExperiment("first", { fails: true }), fakeExperiment("second")];
    const { code, out, error } = await run(["--out", folder], experiments);
    assert.equal(code, 1);
    assert.match(error, /^first: Cannot measure: it must work$/m);
    const { experiments: outcomes } = JSON.parse(out.trimEnd().split("\n").at(-1)!);
    assert.deepEqual(outcomes.map(({ status }: { status: string }) => status), [
      "failed",
      "finished",
    ]);
  }));

Deno.test("reproduce refuses a measured NaN", () =>
  withFolder(async (folder) => {
    const experiment = fakeExperiment("first", { count: 1 });
    const broken: Experiment = {
      ...experiment,
      plan: async (context) =>
        (await experiment.plan(context)).map((unit) => ({
          ...unit,
          run: () => Promise.resolve(NaN),
        })),
    };
    const { code, error } = await run(["--out", folder], [broken]);
    assert.equal(code, 1);
    assert.match(error, /numbers must be finite: current value is NaN/);
    assert.deepEqual((await files(folder)).map((path) => path.slice(folder.length)), [
      "/.cache/lock",
    ]);
  }));

Deno.test("reproduce says what is wrong with the command line and ends with 2", async () => {
  const cases: [string[], RegExp][] = [
    [["--scale", "huge"], /--scale must be one of smoke, small, paper: current value is huge/],
    [["--seed", "-1"], /--seed must be an integer from 0 to 4294967295: current value is -1/],
    [["--seed", "1.5"], /--seed must be an integer/],
    [["--seed"], /--seed must have a value/],
    [["--force=yes"], /--force must have no value: current value is yes/],
    [["--fast"], /options must be among --large, .*--help: current value is --fast/],
    [["-x"], /options must be among .*: current value is -x/],
    [["third"], /names must be among first, second: current value is third/],
    [["--large", "a"], /--large and --small must be given together/],
  ];
  for (const [words, message] of cases) {
    const { code, error } = await run(words);
    assert.equal(code, 2, words.join(" "));
    assert.match(error, message);
  }
});

Deno.test("reproduce ends with 1 where it cannot write", () =>
  withFolder(async (folder) => {
    await writeFile(join(folder, "file"), "");
    await mkdir(join(folder, "r", ".cache", "lock"), { recursive: true });
    for (const out of [join(folder, "file"), join(folder, "file", "inner"), join(folder, "r")]) {
      const { code, error, traces } = await run(["--out", out]);
      assert.equal(code, 1);
      assert.match(error, /^Cannot (make folder|write) .*: current error is E[A-Z]+$/m);
      assert.equal(traces, 0);
    }
  }));

Deno.test("reproduce prints its table although the report cannot be written", () =>
  withFolder(async (folder) => {
    await mkdir(join(folder, "smoke", "report.html"), { recursive: true });
    const { code, out, error } = await run(["--out", folder]);
    assert.equal(code, 1);
    assert.match(error, /^Cannot write .*report\.html: the path must not be a folder/m);
    assert.match(out, / reproduced /);
    assert.match(out, /"exitCode":1/);
  }));

Deno.test("reproduce ends with 1 where a model is missing", () =>
  withFolder(async (folder) => {
    const { code, error } = await run(["--out", folder, "--large", "missing", "--small", "b"]);
    assert.equal(code, 1);
    assert.match(error, /^Cannot open missing: the file must exist/m);
  }));

Deno.test("reproduce --help names options, experiments and examples", async () => {
  const { code, out } = await run(["--scale", "huge", "--help"]);
  assert.equal(code, 0);
  for (const word of ["--large MODEL", "smoke|small|paper", "first", "Examples:"]) {
    assert.ok(out.includes(word), word);
  }
});
