import { assert, assertEquals, assertMatch, assertStrictEquals } from "@std/assert";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CommandIo } from "../../cli/command.ts";
import { runCommandLine } from "../../cli/command_line.ts";
import { reproduceCommand } from "../../cli/reproduce.ts";
import { GpuError } from "../../core/check.ts";
import { TASKS } from "../../data/tasks/mod.ts";
import type { AnswerRow } from "../../evaluation/answer_row.ts";
import { EvaluationFolder } from "../../evaluation/folder.ts";
import { equalMemory } from "../../experiments/equal_memory.ts";
import { fig5 } from "../../experiments/fig5.ts";
import { readRecord } from "../../experiments/runner/record.ts";
import type { Experiment } from "../../experiments/experiment.ts";
import type { ReadModule } from "../../core/code_hash.ts";
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

Deno.test("reproduce decodes your own pair under policies only if asked to", async () => {
  const experiments = [fakeExperiment("first"), {
    ...fakeExperiment("second"),
    usesPolicies: true,
  }];
  const pair = ["--large", "a", "--small", "b"];
  const ran = async (...words: string[]) => {
    let names: string[] = [];
    await withFolder(async (folder) => {
      const { out } = await run([...words, "--out", folder, "--json"], experiments);
      const { experiments: listed } = JSON.parse(out);
      names = listed.map(({ name }: { name: string }) => name);
    });
    return names;
  };
  assertEquals(await ran(), ["first", "second"]);
  assertEquals(await ran(...pair), ["first"]);
  assertEquals(await ran(...pair, "--policies"), ["first", "second"]);
  assertEquals(await ran("second", ...pair), ["second"]);
  const { code, error } = await run(["--policies"], experiments);
  assertEquals(code, 2);
  assertMatch(error, /--policies must go with --large: current value is --policies alone/);
});

/** Every file below a folder. */
async function files(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) =>
    join(entry.parentPath, entry.name)
  );
}

Deno.test("reproduce writes results and ends with the table, counts and the place of the report", () =>
  withFolder(async (folder) => {
    const words = ["--out", folder, "--seed", "7"];
    const { code, out } = await run(words);
    assertEquals(code, 0);
    const lines = out.trimEnd().split("\n");
    assertMatch(lines[0]!, /^claim +paper +ours \(95 % interval\) +verdict +seconds$/);
    assertMatch(lines[2]!, /^C00 mean of made-up numbers .* 6 .*\[.*\] +reproduced +\d/);
    assertEquals(lines.slice(-4), [
      "Arithmetic on printed numbers: 2 reproduced",
      "Measurements with a printed value: 50 not run",
      "Measurements without a printed value: 14 not run", // the made-up claim is none of the paper's
      `Report: ${join(folder, "smoke", "report.html")}`,
    ]);
    const json = (await run([...words, "--json"])).out;
    const last = JSON.parse(json);
    assertEquals(json.trimEnd().split("\n").length, 1);
    assertEquals(last.counts[0].counts.reproduced, 2);
    assertEquals(last.exitCode, 0);
    assertEquals(last.untouched[1], {
      id: "C02",
      paper: 0.947,
      ours: null,
      verdict: "not run",
    });
    assertMatch(out, /^C02 mean cosine of matched heads \(Fig\. 1c\) +0\.947 +– +not run$/m);
    const report = await readFile(join(folder, "smoke", "report.html"), "utf8");
    assertMatch(report, /Arithmetic on printed numbers<\/th><td class="number">2</);
    assertMatch(report, /C64 SmallKV ahead on nearly all pairs/);
    const record = JSON.parse(await readFile(join(folder, "smoke", "first.json"), "utf8"));
    assertEquals(record.seed, 7);
    assertEquals(record.environment.adapter, "made up");
    assertEquals(record.models.large, { name: "fake large", hash: "hash-of-fake large" });
    assertStrictEquals(record.environment.versions.deno, Deno.version.deno);
    assertEquals(record.claims[0].ours.n, 4);
    assertEquals(record.command, `deno task reproduce first --seed 7 --out ${folder}`);
  }));

Deno.test("reproduce skips what is finished, and --force does not", () =>
  withFolder(async (folder) => {
    assertEquals((await run(["--out", folder])).traces, 8);
    const path = join(folder, "smoke", "first.json");
    const before = (await stat(path)).mtimeMs;
    const again = await run(["--out", folder, "--json"]);
    assertEquals(again.traces, 0);
    assertStrictEquals((await stat(path)).mtimeMs, before);
    assertEquals(JSON.parse(again.out).experiments[0].status, "kept");
    await rm(join(folder, ".cache"), { recursive: true });
    assertEquals((await run(["--out", folder])).traces, 0);
    assertEquals((await run(["--out", folder, "--force"])).traces, 8);
  }));

Deno.test("reproduce measures again for another seed, scale, pair or code", () =>
  withFolder(async (folder) => {
    await run(["--out", folder, "first"]);
    const pair = ["--large", "a", "--small", "b"];
    assertEquals((await run(["--out", folder, "first", ...pair])).traces, 4);
    assertEquals((await run(["--out", folder, "first", ...pair])).traces, 0);
    assertEquals((await run(["--out", folder, "first"])).traces, 0);
    const names = await readdir(join(folder, "smoke"));
    assertEquals(names.filter((name) => name.startsWith("a_b_")).length, 1);
    // Texts are the same, so traces are found; units and results are not.
    const changed: ReadModule = async (module) => {
      const text = await readFile(module, "utf8");
      return module.href.endsWith("fake_engine.ts") ? `${text}\nconst more = 1;\n` : text;
    };
    const result = await run(["--out", folder, "first", "--json"], undefined, changed);
    assertMatch(result.out, /"status":"finished"/);
    const other = await run(["--out", folder, "first", "--seed", "2", "--json"]);
    assertMatch(other.out, /"status":"finished"/);
    await run(["--out", folder, "first", "--scale", "small"]);
    assert((await files(join(folder, "small"))).some((path) => path.endsWith("first.json")));
  }));

Deno.test("reproduce measures again after a change of a kernel, not of its comments", () =>
  withFolder(async (folder) => {
    const changed = new Map<string, (text: string) => string>();
    const readModule: ReadModule = async (module) => {
      const text = await readFile(module, "utf8");
      return changed.get(module.pathname.split("/").at(-1)!)?.(text) ?? text;
    };
    const again = () => run(["--out", folder, "--json"], undefined, readModule);
    assertEquals((await again()).traces, 8);
    assertEquals((await again()).traces, 0);
    changed.set("rms_norm.wgsl", (text) => `// Other words.\n${text}`);
    assertEquals((await again()).traces, 0);
    changed.set("rms_norm.wgsl", (text) => text.replace("value * value", "value"));
    const { traces, out } = await again();
    assertEquals(traces, 8);
    assertMatch(out, /"status":"finished"/);
    changed.clear();
    assertEquals((await again()).traces, 0);
    changed.set("matmul_source.ts", (text) => `${text}\nexport const more = 1;\n`);
    assertEquals((await again()).traces, 8);
  }));

Deno.test("reproduce ends with 1 where a module of its results cannot be read", () =>
  withFolder(async (folder) => {
    const readModule: ReadModule = (module) =>
      readFile(module.href.endsWith("/trace.ts") ? new URL("gone.ts", module) : module, "utf8");
    const { code, error, traces } = await run(["--out", folder], undefined, readModule);
    assertEquals(code, 1);
    assertEquals(traces, 0);
    assertMatch(
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
    assertEquals(again.code, 0, again.error);
    assertEquals(again.traces, 8);
    const table = (text: string) => text.split("\n").slice(0, 4).map((line) => line.slice(0, 80));
    assertEquals(table(again.out), table(whole.out));
  }));

Deno.test("reproduce summarises a changed result again, and leaves a changed neighbor out", () =>
  withFolder(async (folder) => {
    await run(["--out", folder]);
    const path = (name: string) => join(folder, "smoke", `${name}.json`);
    const whole = await readFile(path("first"), "utf8");
    const change = async (name: string, change: (record: { claims: unknown }) => unknown) => {
      const record = JSON.parse(await readFile(path(name), "utf8"));
      change(record);
      await writeFile(path(name), JSON.stringify(record));
    };
    for (const ours of [{ value: 9, low: 9, high: 9, n: 4 }, 9, null]) {
      await change("first", (record) => (record.claims as { ours: unknown }[])[0]!.ours = ours);
      await change("second", (record) => record.claims = {});
      const { code, error, traces } = await run(["--out", folder, "first"]);
      assertEquals([code, traces], [0, 0], error);
      assertMatch(
        error,
        /^second is left out of the report: Cannot use .*: claims must be a list/m,
      );
      const { startedAt: _, content: __, ...again } = JSON.parse(
        await readFile(path("first"), "utf8"),
      );
      const { startedAt, content, ...before } = JSON.parse(whole);
      assertEquals(again, before);
      assert(startedAt !== undefined && content !== undefined);
    }
  }));

Deno.test("reproduce --strict ends with 3 when a comparable claim differs", () =>
  withFolder(async (folder) => {
    const experiments = [fakeExperiment("first", { claim: { paper: 100 } })];
    assertEquals((await run(["--out", folder], experiments)).code, 0);
    const strict = await run(["--out", folder, "--strict"], experiments);
    assertEquals(strict.code, 3);
    assertMatch(strict.out, / differs /);
    const absolute = [fakeExperiment("first", { claim: { paper: 100, kind: "absolute" } })];
    assertEquals((await run(["--out", folder, "--strict"], absolute)).code, 0);
  }));

Deno.test("reproduce continues after a failed experiment and ends with 1", () =>
  withFolder(async (folder) => {
    const experiments = [fakeExperiment("first", { fails: true }), fakeExperiment("second")];
    const { code, out, error } = await run(["--out", folder, "--json"], experiments);
    assertEquals(code, 1);
    assertMatch(error, /^first: Cannot measure: it must work$/m);
    const { experiments: outcomes } = JSON.parse(out);
    assertEquals(outcomes.map(({ status }: { status: string }) => status), [
      "failed",
      "finished",
    ]);
  }));

Deno.test("reproduce ends with 75 once the device is lost, and continues in a new process", () =>
  withFolder(async (folder) => {
    const lost = new GpuError("Cannot step: it was lost", { isDeviceLost: true });
    const whole = fakeExperiment("second");
    const broken: Experiment = {
      ...whole,
      plan: async (context) =>
        (await whole.plan(context)).map((unit, index) =>
          index < 2 ? unit : { ...unit, run: () => Promise.reject(lost) }
        ),
    };
    const experiments = [fakeExperiment("first"), broken, fakeExperiment("third")];
    const { code, error, traces } = await run(["--out", folder], experiments);
    assertEquals([code, traces], [75, 6]);
    assertMatch(error, /^Cannot step: it was lost$/m);
    const again = await run(["--out", folder], [experiments[0]!, whole, experiments[2]!]);
    assertEquals([again.code, again.traces], [0, 6]);
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
    assertEquals(code, 1);
    assertMatch(error, /numbers must be finite: current value is NaN/);
    assertEquals((await files(folder)).map((path) => path.slice(folder.length)), [
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
    [["--fast"], /options must be those that --help lists: current value is --fast/],
    [["-x"], /options must be those that --help lists: current value is -x/],
    [["third"], /names must be among first, second: current value is third/],
    [["--large", "a"], /--large and --small must be given together/],
  ];
  for (const [words, message] of cases) {
    const { code, error } = await run(words);
    assertEquals(code, 2, words.join(" "));
    assertMatch(error, message);
  }
});

Deno.test("reproduce refuses settings that nothing compares, before anything runs", async () => {
  const cases: [string[], RegExp][] = [
    [["fig5", "--settings", "full"], /--settings must go with equal_memory: current value is full/],
    [["--settings", ","], /--settings must list at least one: current value is ,/],
    [["--settings", "full,bad"], /--settings: policy must be one of .*: current value is bad/],
    [
      ["equal_memory", "--settings", "h2o:small-layers=1"],
      /--settings: small-budget, small-layers/,
    ],
  ];
  for (const [words, message] of cases) {
    const { code, error } = await run(words, [fig5, equalMemory]);
    assertEquals(code, 2, words.join(" "));
    assertMatch(error, message);
  }
});

Deno.test("reproduce ends with 1 where it cannot write", () =>
  withFolder(async (folder) => {
    await writeFile(join(folder, "file"), "");
    await mkdir(join(folder, "r", ".cache", "lock"), { recursive: true });
    for (const out of [join(folder, "file"), join(folder, "file", "inner"), join(folder, "r")]) {
      const { code, error, traces } = await run(["--out", out]);
      assertEquals(code, 1);
      assertMatch(error, /^Cannot (make folder|write) .*: current error is E[A-Z]+$/m);
      assertEquals(traces, 0);
    }
  }));

Deno.test("reproduce prints its table although the report cannot be written", () =>
  withFolder(async (folder) => {
    await mkdir(join(folder, "smoke", "report.html"), { recursive: true });
    const { code, out, error } = await run(["--out", folder]);
    assertEquals(code, 1);
    assertMatch(error, /^Cannot write .*report\.html: the path must not be a folder/m);
    assertMatch(out, / reproduced /);
    assert(!out.includes("Report:"));
  }));

Deno.test("reproduce says where a file system has no locks, and runs without one if told to", () =>
  withFolder(async (folder) => {
    const { tryLock } = Deno.FsFile.prototype;
    const refusal = Object.assign(new Error("No locks available (os error 37)"), {
      code: "ENOLCK",
    });
    Deno.FsFile.prototype.tryLock = () => Promise.reject(refusal);
    try {
      const { code, error } = await run(["--out", folder]);
      assertEquals(code, 1);
      assertMatch(
        error,
        /^Cannot lock .*: the file system must support locks, or --no-lock must be given/m,
      );
      assertEquals((await run(["--out", folder, "--no-lock"])).code, 0);
    } finally {
      Deno.FsFile.prototype.tryLock = tryLock;
    }
  }));

Deno.test("reproduce asks for data before it opens models", () =>
  withFolder(async (folder) => {
    const pair = ["--large", "missing", "--small", "missing"];
    const experiment: Experiment = { ...fakeExperiment("first"), inputs: ["large", "bbh"] };
    const { code, error } = await run(["--out", folder, ...pair, "--data", "none"], [experiment]);
    assertEquals(code, 1);
    assertMatch(error, /^Cannot read bbh: none/m);
    assertEquals(error.includes("Cannot open missing"), false);
  }));

Deno.test("reproduce ends with 1 where a model is missing", () =>
  withFolder(async (folder) => {
    const { code, error } = await run(["--out", folder, "--large", "missing", "--small", "b"]);
    assertEquals(code, 1);
    assertMatch(error, /^Cannot open missing: the file must exist/m);
  }));

Deno.test("reproduce --help names options, experiments and examples", async () => {
  const { code, out } = await run(["--scale", "huge", "--help"]);
  assertEquals(code, 0);
  for (const word of ["--large MODEL", "smoke|small|paper", "first", "Examples:"]) {
    assert(out.includes(word), word);
  }
});

/** Answers of the models that fakes have, to items that H2O gets wrong and SmallKV right. */
async function writeAnswers(path: string, large: string): Promise<void> {
  const sizes = { fileTensorBytes: 100, tokenBytes: 4 };
  const models = { large: { name: "Large", hash: large, ...sizes } };
  await using folder = await EvaluationFolder.open(path, { models });
  const rows = ["full", "h2o", "smallkv"].flatMap((policy) =>
    Array.from({ length: 8 }, (_, item): AnswerRow => ({
      schema: 1,
      id: `${policy} ${item}`,
      task: "gsm8k",
      item: String(item),
      group: "gsm8k",
      prompt: `p${item}`,
      promptTokens: 50,
      policy,
      options: {},
      budget: { ratio: policy === "full" ? 1 : 0.05 },
      pairing: "given",
      models: { large },
      code: "c",
      device: "fake",
      adapter: "fake",
      answers: [{ text: "", tokens: 5, end: "end token" }],
      grade: { score: policy === "h2o" ? 0 : 1, extracted: null },
      reference: "1",
      bytes: { large: 40, small: 0, host: 0 },
      seconds: { prompt: 1, decode: 1 },
    }))
  );
  await folder.append(rows);
  await folder.summarize({ code: "c", tasks: TASKS });
}

Deno.test("reproduce --answers tells claims from graded answers and runs no model", () =>
  withFolder(async (folder) => {
    const answers = join(folder, "answers");
    await writeAnswers(answers, "hash-of-fake large");
    const words = ["--out", join(folder, "out"), "--answers", answers];
    const { code, out, error, traces } = await run([...words, "fig5"], [fig5]);
    assertEquals([code, traces], [0, 0], error);
    assertMatch(
      out,
      /C64 score of SmallKV minus H2O at 5 % \(Fig. 5\) .* 100 \[[\d.]+, 100\] % .* reproduced/,
    );
    const names = await readdir(join(folder, "out", "smoke"));
    assert(names.includes("fig5_scores.json") && !names.includes("fig5.json"));
    const record = await readRecord(join(folder, "out", "smoke"), "fig5_scores");
    assertMatch(record!.command, /reproduce fig5 --answers/);
    assertEquals((await run(words, [fakeExperiment("first")])).code, 2);
  }));

Deno.test("reproduce --answers ends with 1 where answers are missing or of other models", () =>
  withFolder(async (folder) => {
    const words = ["--out", join(folder, "out"), "--answers"];
    const none = await run([...words, join(folder, "none")], [fig5]);
    assertEquals(none.code, 1);
    assertMatch(none.error, /Cannot read answers of .*: it must hold an evaluation/);
    await writeAnswers(join(folder, "other"), "another");
    const other = await run([...words, join(folder, "other")], [fig5]);
    assertEquals(other.code, 1);
    assertMatch(other.error, /large model must be the one of this run/);
  }));
