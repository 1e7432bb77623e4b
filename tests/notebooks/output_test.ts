import { RequirementError } from "../../core/check.ts";
import {
  assert,
  assertEquals,
  assertMatch,
  assertNotMatch,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { conclude } from "../../notebooks/conclude.ts";
import { isNotebook } from "../../notebooks/output.ts";
import { progressBundle, withProgress } from "../../notebooks/progress_bar.ts";
import { figureBundle, type NamedPlot, viewBundle } from "../../notebooks/show.ts";
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
  assertEquals(isNotebook(), false);
});

Deno.test("progressBundle() says how far the work is, in HTML and in text", () => {
  const running = progressBundle(STATE);
  assertEquals(running["text/plain"], "Measure <a>: 25%, 3.6 s left, units 3");
  assertMatch(String(running["text/html"]), /<progress max="1" value="0.250".*&lt;a&gt;: 25/);
  const done = progressBundle({ ...STATE, done: 4, isFinal: true });
  assertEquals(done["text/plain"], "Measure <a>: done after 1.2 s");
  assertMatch(String(done["text/html"]), /value="1.000"/);
  const stopped = progressBundle({ ...STATE, isFinal: true }, { hasFailed: true });
  assertEquals(stopped["text/plain"], "Measure <a>: stopped at 25% after 1.2 s");
  assertMatch(String(stopped["text/html"]), /value="0.250"/);
  const unknown = progressBundle({ ...STATE, total: 0, done: 0 });
  assertNotMatch(String(unknown["text/html"]), /value/);
});

Deno.test("withProgress() hands results and errors on", async () => {
  assertEquals(await withProgress("a", () => Promise.resolve(3)), 3);
  await assertRejects(
    () => withProgress("a", () => Promise.reject(new RangeError("b"))),
    RangeError,
  );
});

Deno.test("tableBundle() aligns numbers and escapes text", () => {
  const bundle = tableBundle({
    title: "A <table>",
    columns: ["name", "value (ms)"],
    rows: [["a & b", 1.5], ["c", null], ["d", 1234.5]],
  });
  assertEquals(
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
  assert(html.includes("A &lt;table&gt;") && html.includes("a &amp; b"));
  assertMatch(html, /<td style="text-align:right">1.5<\/td>/);
});

Deno.test("showTable() shows chosen columns only", async () => {
  const lines: string[] = [];
  const original = console.log;
  console.log = (text: string) => lines.push(text);
  const table = { title: "t", columns: ["a", "b", "c"], rows: [[1, 2, 3]] };
  try {
    await showTable(table, { columns: ["c", "a"] });
    await assertRejects(
      () => showTable(table, { columns: ["d"] }),
      Error,
      "among a, b, c: current value is d",
    );
  } finally {
    console.log = original;
  }
  assertEquals(lines, ["t\nc  a\n-  -\n3  1"]);
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
    for (const { statement } of claims) assert(lines.join("\n").includes(statement));
  }
});

Deno.test("figureBundle() has Plotly's JSON, a PNG if one was drawn, and one line of text", () => {
  const plot: NamedPlot = { name: "a", text: "Figure: a", plot: { data: [], layout: {} } };
  const bundle = figureBundle(plot, { svg: "<svg/>", png: Uint8Array.of(1, 2, 3) });
  assertEquals(Object.keys(bundle), [
    "application/vnd.plotly.v1+json",
    "image/png",
    "text/plain",
  ]);
  assertEquals(bundle["image/png"], "AQID");
  assertEquals(Object.keys(figureBundle(plot)), [
    "application/vnd.plotly.v1+json",
    "text/plain",
  ]);
});

Deno.test("viewBundle() frames a page over its picture, which stays where the frame is not allowed", () => {
  const view = { name: "a", text: 'Figure: "a" < b', page: '<p title="c">30 %</p>' };
  const bundle = viewBundle(view, { png: Uint8Array.of(1, 2, 3) });
  assertEquals(Object.keys(bundle), ["text/html", "text/plain"]);
  const html = String(bundle["text/html"]);
  assertMatch(html, /<img alt="Figure: &quot;a&quot; &lt; b" src="data:image\/png;base64,AQID"/);
  assertMatch(html, /<iframe [^>]*sandbox="" srcdoc="&lt;p title=&quot;c&quot;&gt;/);
  const alone = String(viewBundle(view)["text/html"]);
  assert(alone.startsWith("<div>Figure: &quot;a&quot; &lt; b</div><iframe"));
  assert(alone.includes("resize:vertical"));
});

Deno.test("stopAfter() aborts with a reason that names the limit", async () => {
  const signal = stopAfter(0.02);
  assertEquals(signal.aborted, false);
  const timer = setTimeout(() => {}, 1000);
  await new Promise((resolve) => signal.addEventListener("abort", resolve));
  clearTimeout(timer);
  assertMatch(String(signal.reason), /AbortError: Stopped after the limit of 0.0 s/);
  assertThrows(() => stopAfter(0), Error, "Cannot limit a cell: milliseconds must be an integer");
});

Deno.test("conclude() names what does not hold: an error with the embedded pair, else a finding", async () => {
  const lines: string[] = [];
  const original = console.log;
  console.log = (text: string) => lines.push(text);
  const statements = { "one is one": true, "one is two": false };
  try {
    await conclude({ isDefaultPair: true }, { "one is one": true });
    await assertRejects(
      () => conclude({ isDefaultPair: true }, statements),
      RequirementError,
      "the text must hold for the embedded pair: current differences are: one is two",
    );
    await conclude({ isDefaultPair: false }, statements);
  } finally {
    console.log = original;
  }
  assertEquals(lines.map((text) => text.split("\n").length), [1, 2, 3]);
  assertMatch(lines[2]!, /✓ one is one\n✗ one is two\nThe text above describes the embedded pair/);
});
