import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { dirname, join } from "node:path";
import { DataError, RequirementError } from "../../../core/check.ts";
import { resultMarkdown } from "../../../experiments/report/markdown.ts";
import { contentHash } from "../../../core/hash.ts";
import {
  readRecord,
  recordPath,
  type ResultRecord,
  writeRecord,
} from "../../../experiments/runner/record.ts";
import { recordFault } from "../../../experiments/runner/record_check.ts";
import { SAMPLE_RECORDS } from "../../support/sample_records.ts";

const RESULTS = new URL("../../../results/", import.meta.url).pathname;
/** Answers of benchmarks, which `tests/evaluation/committed_test.ts` checks. */
const EVALUATIONS = "evaluation";

// deno-lint-ignore no-explicit-any -- any JSON
type Json = any;

async function withFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Every value below a value, as its holder and key. */
function* places(value: Json): Generator<{ holder: Json; key: string }> {
  if (value === null || typeof value !== "object") return;
  for (const key of Object.keys(value)) {
    yield { holder: value, key };
    yield* places(value[key]);
  }
}

/** A small record with every kind of field. */
function smallRecord(): ResultRecord {
  const [record] = SAMPLE_RECORDS;
  const figures = record!.figures.slice(0, 1).map((figure) => ({
    ...figure,
    zTitle: "cosine",
    contexts: 1,
    series: figure.series.slice(0, 1).map((series) => ({ ...series, z: [[1, 2], [3, 4]] })),
  }));
  const claims = record!.claims.map((claim) => ({
    ...claim,
    expected: { above: 0, below: 1 },
    pairs: [{ large: "a", small: "b" }],
  }));
  const environment = { ...record!.environment, commit: "0".repeat(40) };
  return { ...record!, figures, claims, environment };
}

Deno.test("readRecord() gives what writeRecord() wrote, and undefined where there is nothing", () =>
  withFolder(async (folder) => {
    for (const record of [...SAMPLE_RECORDS, smallRecord()]) {
      await writeRecord(folder, record);
      assertEquals(await readRecord(folder, record.name), record);
    }
    assertEquals(await readRecord(folder, "another"), undefined);
  }));

Deno.test("readRecord() refuses a record with any value changed", () =>
  withFolder(async (folder) => {
    const record = smallRecord();
    await writeRecord(folder, record);
    const path = recordPath(folder, record.name);
    const text = await Deno.readTextFile(path);
    const count = [...places(JSON.parse(text))].length;
    assert(count > 100);
    for (let index = 0; index < count; index++) {
      const copy = JSON.parse(text);
      const { holder, key } = [...places(copy)][index]!;
      const value = holder[key];
      if (typeof value === "number") holder[key] = value + 1e-9;
      else if (typeof value === "string") holder[key] = `${value}.`;
      else if (typeof value === "boolean") holder[key] = !value;
      else if (Array.isArray(value)) value.push(value[0] ?? 1);
      else holder[key] = value === null ? 1 : null;
      await Deno.writeTextFile(path, JSON.stringify(copy));
      await assertRejects(() => readRecord(folder, record.name), DataError, "Cannot use");
    }
  }));

Deno.test("recordFault() names the first field of another type, wherever it is", () => {
  const record = smallRecord();
  assertEquals(recordFault(record), undefined);
  assertEquals(recordFault(null), "the content must be an object");
  assertEquals(recordFault([]), "the content must be an object");
  for (const index of [...places(record)].keys()) {
    const copy = structuredClone(record);
    const { holder, key } = [...places(copy)][index]!;
    holder[key] = { wrong: [] };
    const name = /^\d+$/.test(key) ? `\\[${key}\\]` : key;
    assertMatch(recordFault(copy) ?? "", new RegExp(`${name}(\\.wrong)? must `), key);
  }
  const claims = [{ ...record.claims[0]!, ours: { value: "1", low: 0, high: 1, n: 1 } }];
  assertEquals(
    recordFault({ ...record, claims }),
    "claims[0].ours.value must be a finite number",
  );
});

Deno.test("readRecord() says what is wrong with a file", () =>
  withFolder(async (folder) => {
    const [record] = SAMPLE_RECORDS;
    const stored = (change: object) => {
      const value = { ...record!, ...change };
      return JSON.stringify({ ...value, content: contentHash(JSON.parse(JSON.stringify(value))) });
    };
    const cases: [string, RegExp][] = [
      ["", /it must be JSON/],
      ["null", /schema must be one of 2/],
      [stored({ schema: 1 }), /schema must be one of 2/],
      [stored({ notes: [1] }), /notes\[0\] must be a text/],
      [stored({ seconds: null }), /seconds must be a finite number/],
      [stored({ name: "x" }), /name must be saliency_shift: current name is x/],
      [JSON.stringify(record), /the hash that it states: current hash is [0-9a-f]{64}$/],
    ];
    for (const [text, message] of cases) {
      await Deno.writeTextFile(recordPath(folder, record!.name), text);
      const error = await assertRejects(() => readRecord(folder, record!.name), DataError);
      assertMatch(error.message, message);
    }
    const measured = { value: NaN, low: 0, high: 1, n: 1 };
    const claims = [{ ...record!.claims[0]!, ours: measured }];
    await assertRejects(() => writeRecord(folder, { ...record!, claims }), RequirementError);
  }));

Deno.test("every committed result is whole, as it was written, and next to its Markdown", async () => {
  let count = 0;
  const folders = [RESULTS];
  for (const folder of folders) {
    for await (const { name, isDirectory } of Deno.readDir(folder)) {
      const path = join(folder, name);
      if (isDirectory && !["figures", ".cache", EVALUATIONS].includes(name)) folders.push(path);
      if (!name.endsWith(".json")) continue;
      const record = await readRecord(dirname(path), name.slice(0, -5));
      const markdown = await Deno.readTextFile(path.replace(/json$/, "md"));
      assertEquals(markdown, resultMarkdown(record!), path);
      count++;
    }
  }
  assert(count >= 8);
});
