import assert from "node:assert/strict";
import { conclude } from "../../notebooks/conclude.ts";
import { isNotebook } from "../../notebooks/output.ts";
import { progressBundle, withProgress } from "../../notebooks/progress_bar.ts";
import { figureBundle, type NamedPlot } from "../../notebooks/show.ts";
import { stopAfter } from "../../notebooks/stop_after.ts";
import { showClaims, showTable, tableBundle } from "../../notebooks/table.ts";
import type { ProgressState } from "../../core/progress.ts";
import { SAMPLE_RECORDS } from "../support/sample_records.ts";

const STATE: ProgressState = {
  label: "Measure <a>",
  stage: "units",
  detail: "3",
  done: 1,
  total: 4,
  elapsedMs: 1200,
  remainingMs: 3600,
  isFinal: false,
};

Deno.test("isNotebook() tells a test from a cell", () => {
  assert.equal(isNotebook(), false);
});

Deno.test("progressBundle() says how far the work is, in HTML and in text", () => {
  const running = progressBundle(STATE);
  assert.equal(running["text/plain"], "Measure <a>: 25%, 3.6 s left, units 3");
  assert.match(String(running["text/html"]), /<progress max="1" value="0.250".*&lt;a&gt;: 25/);
  const done = progressBundle({ ...STATE, done: 4, isFinal: true });
  assert.equal(done["text/plain"], "Measure <a>: done after 1.2 s");
  assert.match(String(done["text/html"]), /value="1.000"/);
  const stopped = progressBundle({ ...STATE, isFinal: true }, { hasFailed: true });
  assert.equal(stopped["text/plain"], "Measure <a>: stopped at 25% after 1.2 s");
  assert.match(String(stopped["text/html"]), /value="0.250"/);
  const unknown = progressBundle({ ...STATE, total: 0, done: 0 });
  assert.doesNotMatch(String(unknown["text/html"]), /value/);
});

Deno.test("withProgress() hands results and errors on", async () => {
  assert.equal(await withProgress("a", () => Promise.resolve(3)), 3);
  await assert.rejects(withProgress("a", () => Promise.reject(new RangeError("b"))), RangeError);
});

Deno.test("tableBundle() aligns numbers and escapes text", () => {
  const bundle = tableBundle({
    title: "A <table>",
    columns: ["name", "value (ms)"],
    rows: [["a & b", 1.5], ["c", null], ["d", 1234.5]],
  });
  assert.equal(
    bundle["text/plain"],
    [
      "A <table>",
      "name   value (ms)",
      "-----  ----------",
      "a & b         1.5",
      "c               –",
      "d            1235",
    ].join("\n"),
  );
  const html = String(bundle["text/html"]);
  assert.ok(html.includes("A &lt;table&gt;") && html.includes("a &amp; b"));
  assert.match(html, /<td style="text-align:right">1.5<\/td>/);
});

Deno.test("showTable() shows chosen columns only", async () => {
  const lines: string[] = [];
  const original = console.log;
  console.log = (text: string) => lines.push(text);
  const table = { title: "t", columns: ["a", "b", "c"], rows: [[1, 2, 3]] };
  try {
    await showTable(table, { columns: ["c", "a"] });
    await assert.rejects(showTable(table, { columns: ["d"] }), /among a, b, c: current value is d/);
  } finally {
    console.log = original;
  }
  assert.deepEqual(lines, ["t\nc  a\n-  -\n3  1"]);
});

Deno.test("showClaims() shows every claim of its records", async () => {
  const lines: string[] = [];
  const original = console.log;
  console.log = (text: string) => lines.push(text);
  try {
    await showClaims(...SAMPLE_RECORDS);
  } finally {
    console.log = original;
  }
  for (const { claims } of SAMPLE_RECORDS) {
    for (const { statement } of claims) assert.ok(lines.join("\n").includes(statement));
  }
});

Deno.test("figureBundle() has Plotly's JSON, a PNG and one line of text", () => {
  const plot: NamedPlot = { name: "a", text: "Figure: a", plot: { data: [], layout: {} } };
  const bundle = figureBundle(plot, { svg: "<svg/>", png: Uint8Array.of(1, 2, 3) });
  assert.deepEqual(Object.keys(bundle), [
    "application/vnd.plotly.v1+json",
    "image/png",
    "text/plain",
  ]);
  assert.equal(bundle["image/png"], "AQID");
});

Deno.test("stopAfter() aborts with a reason that names the limit", async () => {
  const signal = stopAfter(0.02);
  assert.equal(signal.aborted, false);
  const timer = setTimeout(() => {}, 1000);
  await new Promise((resolve) => signal.addEventListener("abort", resolve));
  clearTimeout(timer);
  assert.match(String(signal.reason), /AbortError: Stopped after the limit of 0.0 s/);
  assert.throws(() => stopAfter(0), /Cannot limit a cell: milliseconds must be an integer/);
});

Deno.test("conclude() names what does not hold: an error with the embedded pair, else a finding", async () => {
  const lines: string[] = [];
  const original = console.log;
  console.log = (text: string) => lines.push(text);
  const statements = { "one is one": true, "one is two": false };
  try {
    await conclude({ isDefaultPair: true }, { "one is one": true });
    await assert.rejects(
      conclude({ isDefaultPair: true }, statements),
      /The text does not hold here: one is two/,
    );
    await conclude({ isDefaultPair: false }, statements);
  } finally {
    console.log = original;
  }
  assert.deepEqual(lines.map((text) => text.split("\n").length), [1, 2, 3]);
  assert.match(lines[2]!, /✓ one is one\n✗ one is two\nThe text above describes the embedded pair/);
});
