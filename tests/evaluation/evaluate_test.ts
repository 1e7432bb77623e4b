import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { DataError, RequirementError } from "../../core/check.ts";
import type { Task } from "../../data/task.ts";
import { embeddedPair } from "../../data/embedded.ts";
import { generateAll } from "../../decoding/text/generate.ts";
import { type AnswerRow, isAnswer } from "../../evaluation/answer_row.ts";
import { readRows, writeRows } from "../../evaluation/answers_file.ts";
import { evaluate, type EvaluateOptions, planEvaluation } from "../../evaluation/evaluate.ts";
import { evaluatedModels } from "../../evaluation/evaluated_models.ts";
import {
  ANSWERS_FILE,
  EvaluationFolder,
  mergedRows,
  readSummary,
} from "../../evaluation/folder.ts";
import { engineCode, runWork, splitWork } from "../../evaluation/work.ts";
import { openDevice } from "../../gpu/open_device.ts";
import { loadModel } from "../../models/load.ts";
import { embeddedModels } from "../support/embedded_model.ts";
import { temporaryFolder } from "../support/model_writer.ts";
import { shortTask } from "./short_task.ts";

const pair = () => embeddedModels("cpu");
const TASK = shortTask();
const REQUEST: EvaluateOptions = {
  tasks: [TASK],
  policies: ["full", "h2o", "smallkv"],
  budgets: [0.3],
};

async function rowsOf(options: Partial<EvaluateOptions> = {}): Promise<AnswerRow[]> {
  return await Array.fromAsync(evaluate(await pair(), { ...REQUEST, ...options }));
}

/** Rows without what differs from run to run, by id. */
function stable(rows: readonly AnswerRow[]): Omit<AnswerRow, "seconds">[] {
  return [...rows].sort((a, b) => a.id < b.id ? -1 : 1).map(({ seconds: _, ...row }) => row);
}

Deno.test("evaluate() yields what generate() writes, graded, for each item and setting", async () => {
  const rows = await rowsOf();
  const items = await TASK.items({ folder: "" });
  assertEquals(rows.length, 12);
  assertEquals(new Set(rows.map(({ id }) => id)).size, 12);
  for (const { item, policy, budget, answers, grade, bytes, promptTokens, cachedTokens } of rows) {
    const { turns: [prompt], reference, maxTokens } = items.find(({ id }) => id === item)!;
    const written = await generateAll(await pair(), prompt!, {
      policy,
      budget,
      maxNewTokens: maxTokens,
    });
    const { text, tokens } = written.sequences[0]!;
    assertEquals(answers.map(({ text }) => text), [text]);
    assertEquals(answers[0]!.tokens, tokens.length);
    assertEquals(grade!.score, Number(text === reference));
    assertEquals(promptTokens, written.statistics.promptTokens[0]);
    assertEquals(bytes.large, written.statistics.memory.large.cacheBytesIdeal);
    assertEquals(cachedTokens, promptTokens + tokens.length - 1);
  }
});

Deno.test("evaluate() continues where it was stopped, and adds items and settings", async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, "out");
  const whole = await rowsOf();
  for (const count of [1, 4, 5]) {
    let rows = 0;
    for await (const _ of evaluate(await pair(), { ...REQUEST, folder: path })) {
      if (++rows === count) break;
    }
  }
  assertEquals((await readRows(join(path, ANSWERS_FILE))).rows.length, 5);
  assertEquals(stable(await rowsOf({ folder: path })), stable(whole));
  const { rows } = await readRows(join(path, ANSWERS_FILE));
  assertEquals(stable(rows.filter(isAnswer)), stable(whole));
  const more = await rowsOf({ folder: path, policies: ["full", "random"], limit: 5, seeds: 2 });
  assertEquals(more.length, 5 + 10);
  const summary = (await readSummary(path))!;
  assertEquals(summary.tasks, [{
    ...{ name: "short", title: "Short", metric: "exact answer", average: "items" },
    ...{ items: 5, skipped: 0 },
  }]);
  assertEquals(summary.cells.map(({ setting, items, seeds }) => [setting, items, seeds]), [
    ["full", 5, 1],
    ["h2o", 4, 1],
    ["random", 5, 2],
    ["smallkv", 4, 1],
  ]);
  for (const { setting, score, tokens } of summary.cells) {
    const own = [...whole, ...more].filter(({ policy }) => policy === setting);
    const unique = [...new Map(own.map((row) => [row.id, row])).values()];
    const mean = (of: (row: AnswerRow) => number) =>
      unique.reduce((sum, row) => sum + of(row), 0) / unique.length;
    assertAlmostEquals(score.value, mean(({ grade }) => grade!.score));
    assertAlmostEquals(tokens, mean(({ answers }) => answers[0]!.tokens));
    assert(score.low <= score.value && score.value <= score.high);
  }
});

Deno.test("answers of another version of the code are kept, and counted only if accepted", async () => {
  await using folder = await temporaryFolder();
  const path = folder.path;
  const file = join(path, ANSWERS_FILE);
  const options = { folder: path, policies: ["full"], limit: 2 };
  const [first, second] = await rowsOf(options) as [AnswerRow, AnswerRow];
  const other = "0123456789".padEnd(64, "0");
  await writeRows(file, [{ ...first, id: "old", code: other }, second]);
  const accepted = await rowsOf({ ...options, acceptCode: ["01234567"] });
  assertEquals(accepted.map(({ id }) => id), ["old", second.id]);
  assertEquals((await readSummary(path))!.counted, { [other]: 1, [second.code]: 1 });
  assertEquals(stable(await rowsOf(options)), stable([first, second]));
  assertEquals((await readSummary(path))!.counted, { [second.code]: 2 });
  assertEquals((await readSummary(path))!.uncounted, { [other]: 1 });
  assertEquals((await readRows(file)).rows.length, 3);
  assertEquals(first.code, await engineCode());
});

Deno.test("answers of 8-bit activations count as those of other models", async () => {
  using device = await openDevice({ backend: "cpu", threads: 0, activationBits: 8 });
  const { large: path, small: smallPath } = embeddedPair();
  using large = await loadModel(path, { device });
  using small = await loadModel(smallPath, { device });
  const rounded = { large, small };
  await using folder = await temporaryFolder();
  const options = { ...REQUEST, policies: ["full", "smallkv"], limit: 1 };
  const there = { ...options, folder: folder.path };
  const rows = await Array.fromAsync(evaluate(rounded, there));
  assertEquals(new Set(rows.map(({ adapter }) => adapter)).size, 1);
  assertEquals(rows[0]!.adapter, "WebAssembly on the CPU, 8-bit activations");
  const { models } = (await readSummary(folder.path))!;
  assert(models.large.name.endsWith(", 8-bit activations"));
  assertEquals(rows[0]!.models.large, models.large.hash);
  await assertRejects(() => rowsOf(there), DataError, "model");
  const usual = await rowsOf(options);
  assertEquals(usual.filter(({ id }) => rows.some((row) => row.id === id)), []);
});

Deno.test("a folder is of one pair, one process, and nothing else", async () => {
  await using folder = await temporaryFolder();
  const path = folder.path;
  const models = evaluatedModels(await pair());
  {
    await using _open = await EvaluationFolder.open(path, { models });
    const second = () => EvaluationFolder.open(path, { models });
    await assertRejects(second, DataError, "no other run may be using it");
  }
  const small = { ...models.large, name: "other" };
  const others = () => EvaluationFolder.open(path, { models: { ...models, small } });
  await assertRejects(others, DataError, "its small model must be other");
  const { large } = models;
  await using alone = await EvaluationFolder.open(path, { models: { large } });
  assertEquals(alone.models, models);
  await Deno.mkdir(join(path, "b"));
  await Deno.writeTextFile(join(path, "b", "evaluation.json"), "{}");
  const strange = () => EvaluationFolder.open(join(path, "b"), { models });
  await assertRejects(strange, DataError, "it must be the summary of an evaluation");
  const none = () => EvaluationFolder.open(join(path, "c"));
  await assertRejects(none, DataError, "it must hold an evaluation");
});

Deno.test("evaluate() warns of a torn line and answers again", async () => {
  await using folder = await temporaryFolder();
  const options = { folder: folder.path, policies: ["full"], limit: 2 };
  const whole = await rowsOf(options);
  const file = join(folder.path, ANSWERS_FILE);
  await Deno.truncate(file, (await Deno.stat(file)).size - 9);
  const warnings: string[] = [];
  const again = await rowsOf({ ...options, onWarning: (text) => warnings.push(text) });
  assertEquals(stable(again), stable(whole));
  assertEquals(warnings.length, 1);
});

Deno.test("items that do not fit the context are noted and left out, not truncated", async () => {
  await using folder = await temporaryFolder();
  const all = (await planEvaluation(await pair(), REQUEST, { code: "", rows: [] })).questions;
  const lengths = all.map(({ capacity }) => capacity).sort((a, b) => a - b);
  const context = lengths[1]!;
  assert(context < lengths[2]!);
  const options = { folder: folder.path, policies: ["full"], context };
  assertEquals((await rowsOf(options)).length, 2);
  assertEquals((await readSummary(folder.path))!.tasks.map(({ skipped }) => skipped), [2]);
  await rowsOf(options);
  assertEquals((await readRows(join(folder.path, ANSWERS_FILE))).rows.length, 4);
  await rowsOf({ ...options, context: 512 });
  assertEquals((await readSummary(folder.path))!.tasks.map(({ skipped }) => skipped), [0]);
});

Deno.test("items that a task leaves out since they are too long are noted once, by all shards together", async () => {
  await using folder = await temporaryFolder();
  const task: Task = {
    ...TASK,
    async items(options) {
      const place = { group: "short", promptTokens: 900, tokens: 1000 };
      for (const id of ["long/1", "long/2"]) options.onLeftOut?.({ id, text: id, ...place });
      return await TASK.items(options);
    },
  };
  const options = { folder: folder.path, policies: ["full"], tasks: [task] };
  for (const index of [1, 2]) await rowsOf({ ...options, shard: { index, count: 2 } });
  assertEquals((await rowsOf(options)).length, 4);
  assertEquals((await readSummary(folder.path))!.tasks.map(({ skipped }) => skipped), [2]);
  const { rows } = await readRows(join(folder.path, ANSWERS_FILE));
  assertEquals(rows.filter((row) => !isAnswer(row)).map(({ item }) => item), ["long/1", "long/2"]);
});

Deno.test("a chat task needs a template, and names must be known", async () => {
  const chat = { tasks: [shortTask({ item: { isChat: true } })] };
  await assertRejects(() => rowsOf(chat), DataError, "must come with a chat template");
  await assertRejects(
    () => rowsOf({ tasks: ["gsm9k"] }),
    RequirementError,
    "tasks must be some of",
  );
  const alone = async () =>
    await Array.fromAsync(evaluate({ large: (await pair()).large }, { ...REQUEST }));
  await assertRejects(alone, RequirementError, "a small model must be given");
});

Deno.test("an answer does not depend on what else is asked, whatever decides rotations", async () => {
  const { large } = await pair();
  const factors = (factor: number) => new Array<number>(large.config.headDim / 2).fill(factor);
  const ropeScaling = {
    kind: "longrope",
    factor: 1,
    originalContextLength: 150, // between what the two questions need, 137 and 183 tokens
    shortFactors: factors(1),
    longFactors: factors(8),
  } as const;
  const models = { large: { ...large, config: { ...large.config, ropeScaling } } };
  const tasks = [shortTask({
    items: async (options) => {
      const items = await TASK.items(options);
      return items.map((item, index) => ({ ...item, maxTokens: [20, 60][index]! }));
    },
  })];
  const answered = async (limit: number) =>
    stable(await Array.fromAsync(evaluate(models, { tasks, limit, policies: ["full"] })));
  const alone = await answered(1);
  const both = await answered(2);
  assertEquals(both.length, 2);
  assertEquals(both.filter(({ id }) => id === alone[0]!.id), alone);
});

Deno.test("shards that are merged are the whole, and differing answers are named", async () => {
  await using folder = await temporaryFolder();
  const place = (name: string) => join(folder.path, name);
  const whole = await rowsOf();
  for (const index of [1, 2]) {
    await rowsOf({ folder: place(`${index}`), shard: { index, count: 2 } });
  }
  const { rows } = await mergedRows([place("1"), place("2"), place("1")]);
  assertEquals(stable(rows.filter(isAnswer)), stable(whole));
  const [first, ...others] = (await readRows(join(place("1"), ANSWERS_FILE))).rows;
  const changed = { ...first as AnswerRow, answers: [{ text: "x", tokens: 1, end: "limit" }] };
  await rowsOf({ folder: place("3"), policies: ["full"], limit: 1 });
  await writeRows(join(place("3"), ANSWERS_FILE), [changed as AnswerRow, ...others]);
  const conflict = () => mergedRows([place("1"), place("3")]);
  await assertRejects(conflict, DataError, `differ in ${place("1")}/${ANSWERS_FILE}, line 1 and `);
});

Deno.test("an item with another prompt needs another folder, and is not merged", async () => {
  await using folder = await temporaryFolder();
  const place = (name: string) => join(folder.path, name);
  const longer = shortTask({ item: { maxTokens: 40 } });
  await rowsOf({ folder: place("a"), policies: ["full"], limit: 1 });
  const before = await Deno.readTextFile(join(place("a"), ANSWERS_FILE));
  await assertRejects(
    () => rowsOf({ folder: place("a"), tasks: [longer], policies: ["full"], limit: 1 }),
    DataError,
    "current prompt of ask/0 differs, so that another folder is needed",
  );
  assertEquals(await Deno.readTextFile(join(place("a"), ANSWERS_FILE)), before);
  await rowsOf({ folder: place("b"), tasks: [longer], policies: ["full"], limit: 1 });
  await assertRejects(
    () => mergedRows([place("a"), place("b")]),
    DataError,
    "current prompts of short ask/0 differ",
  );
});

Deno.test("regrade() grades again from the file alone", async () => {
  await using folder = await temporaryFolder();
  const before = await rowsOf({ folder: folder.path, policies: ["full"], limit: 2 });
  const half = shortTask({ grade: () => ({ score: 0.5, extracted: "half" }) });
  await using opened = await EvaluationFolder.open(folder.path);
  assertEquals(await opened.regrade([TASK]), 0);
  assertEquals(await opened.regrade([half]), 2);
  const { rows } = await readRows(join(folder.path, ANSWERS_FILE));
  const grade = { score: 0.5, extracted: "half" };
  assertEquals(rows as unknown[], before.map((row) => ({ ...row, grade })));
  await opened.append([]);
  await opened.summarize({ code: await engineCode(), tasks: [half] });
  assertEquals(opened.summary!.cells.map(({ score }) => score.value), [0.5]);
});

Deno.test("a task that compares with the full cache is graded once that has answered", async () => {
  const compared = shortTask({
    grade([answer], _item, full) {
      if (full) return { score: Number(answer === full[0]), extracted: null };
      const requirement = "the full cache's answers must be given";
      throw new RequirementError({ action: "grade", requirement, state: "value is none" });
    },
  });
  await using folder = await temporaryFolder();
  const options = { tasks: [compared], folder: folder.path, limit: 2 };
  const alone = await rowsOf({ ...options, policies: ["h2o"] });
  assertEquals(alone.map(({ grade }) => grade), [null, null]);
  const rows = await rowsOf({ ...options, policies: ["h2o", "full"] });
  const texts = (policy: string) =>
    rows.filter((row) => row.policy === policy).map(({ answers }) => answers[0]!.text);
  const scores = texts("h2o").map((text, index) => Number(text === texts("full")[index]));
  const stored = (await readRows(join(folder.path, ANSWERS_FILE))).rows as AnswerRow[];
  assertEquals(
    stored.filter(({ policy }) => policy === "h2o").map(({ grade }) => grade!.score),
    scores,
  );
  const together = await rowsOf({ tasks: [compared], limit: 2, policies: ["h2o", "full"] });
  assertEquals(together.every(({ grade }) => grade !== null), true);
});

Deno.test("runWork() answers a piece that another machine made", async () => {
  const models = await pair();
  const code = await engineCode();
  const options = { limit: 4 };
  const plan = await planEvaluation(models, { ...REQUEST, ...options, smallAlone: true }, {
    ...{ code, rows: [] },
  });
  const pieces = splitWork(models, plan.open, { options, code, items: 3 });
  const sizes = pieces.map(({ questions }) => questions.length);
  assert(sizes.every((size) => size <= 3) && sizes.reduce((sum, size) => sum + size) === 8);
  assertEquals(new Set(pieces.map(({ id }) => id)).size, pieces.length);
  const again = splitWork(models, plan.open, { options, code, items: 3 });
  assertEquals(again, pieces);
  const run = async (work: typeof pieces[0], tasks = [TASK]) =>
    await Array.fromAsync(
      runWork(models, JSON.parse(JSON.stringify(work)), { tasks, folder: "", code }),
    );
  const rows = (await Promise.all(pieces.map((work) => run(work)))).flat();
  assertEquals(stable(rows), stable(await rowsOf({ ...options, smallAlone: true })));
  const [work] = pieces as [typeof pieces[0]];
  const other = [shortTask({ item: { maxTokens: 3 } })];
  await assertRejects(() => run(work, other), DataError, "the prompt of ask/0 must be");
  await assertRejects(() => run({ ...work, code: "x" }), DataError, "the code must be x");
  const large = { ...work.models, large: "y" };
  await assertRejects(() => run({ ...work, models: large }), DataError, "large model must be y");
});
