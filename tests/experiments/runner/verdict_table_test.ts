import { assert, assertEquals } from "@std/assert";
import { PAPER_CLAIMS } from "../../../experiments/claims.ts";
import { verdictTable } from "../../../experiments/runner/verdict_table.ts";
import { SAMPLE_RECORDS } from "../../support/sample_records.ts";

const untouched = PAPER_CLAIMS.slice(2, 18);

Deno.test("verdictTable() cuts no word, whatever the width", () => {
  const words = (text: string) => text.split(/\s+/).filter((word) => !word.startsWith("-")).sort();
  const whole = verdictTable(SAMPLE_RECORDS, { columns: Infinity, untouched });
  for (const columns of [40, 80, 120, 200]) {
    const table = verdictTable(SAMPLE_RECORDS, { columns, untouched });
    assertEquals(table.includes("…"), false);
    assertEquals(words(table), words(whole), `${columns} columns`);
  }
});

Deno.test("verdictTable() fits the screen by taking more lines", () => {
  const claims = SAMPLE_RECORDS.reduce((sum, record) => sum + record.claims.length, 0);
  const lines = verdictTable(SAMPLE_RECORDS, { columns: Infinity, untouched }).split("\n");
  assertEquals(lines.length, 2 + claims + untouched.length);
  const narrow = verdictTable(SAMPLE_RECORDS, { columns: 130, untouched }).split("\n");
  assert(narrow.length > lines.length);
  assertEquals(narrow.filter((line) => line.length > 130), []);
});

Deno.test("verdictTable() lists claims without an experiment as not run", () => {
  const lines = verdictTable([], { columns: Infinity, untouched }).split("\n").slice(2);
  assertEquals(lines.map((line) => line.slice(0, 3)), untouched.map(({ id }) => id));
  assert(lines.every((line) => line.endsWith("not run")));
});
