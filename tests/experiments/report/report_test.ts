import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { findChromium, startChromium } from "../../../experiments/figures/chromium.ts";
import { escapeHtml, escapeJson, escapeScript } from "../../../experiments/report/html.ts";
import { resultMarkdown } from "../../../experiments/report/markdown.ts";
import { writeOutputs } from "../../../experiments/report/outputs.ts";
import { buildReport } from "../../../experiments/report/report.ts";
import { slimFigure } from "../../../experiments/report/slim_figure.ts";
import { useChromium } from "../../support/chromium.ts";
import { SAMPLE_FIGURES, SAMPLE_RECORDS } from "../../support/sample_records.ts";

async function withFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "report-"));
  try {
    await test(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

const OPTIONS = { view: () => {}, order: SAMPLE_RECORDS.map(({ name }) => name) };

Deno.test("buildReport() is one file under six million bytes that loads nothing", async () => {
  const html = await buildReport(SAMPLE_RECORDS);
  assert.ok(new TextEncoder().encode(html).length < 6e6);
  const page = html.slice(0, html.indexOf('<script type="application/json"'));
  assert.equal(/\s(?:src|href)="(?!#|data:)/.test(page), false);
  for (const part of ["78.22\u00a0%", "0.6123 [0.58, 0.6481]", "not comparable at this scale"]) {
    assert.ok(page.includes(part), part);
  }
  assert.ok(page.includes("Every head &lt;and&gt; its match"));
});

Deno.test("resultMarkdown() shows claims, tables and notes, and tables keep their columns", () => {
  const [record] = SAMPLE_RECORDS;
  const table = {
    name: "odd",
    title: "Odd words",
    columns: ["a | b", "share (%)"],
    rows: [["x | y\nz", 12.345678], ["nothing", null]],
  };
  const text = resultMarkdown({ ...record!, tables: [table], notes: ["Mind this."] });
  assert.ok(text.startsWith(`# ${record!.title}\n`));
  assert.ok(text.includes(record!.command));
  assert.ok(text.includes("78.22"));
  assert.ok(text.includes("| a \\| b | share (%) |\n| :-- | --: |\n| x \\| y z | 12.35 |"));
  assert.ok(text.endsWith("| nothing |  |\n\n## Notes\n\n- Mind this.\n"));
});

Deno.test("buildReport() stays under six million bytes with many large maps", async () => {
  const map = SAMPLE_FIGURES[4]!;
  const figures = Array.from({ length: 12 }, (_, index) => ({ ...map, name: `map${index}` }));
  const html = await buildReport([{ ...SAMPLE_RECORDS[0]!, figures }]);
  assert.ok(new TextEncoder().encode(html).length < 6e6);
});

Deno.test("slimFigure() merges cells and keeps the mean", () => {
  const map = SAMPLE_FIGURES[4]!;
  const slim = slimFigure(map, 7 * 84 * 50).series[0]!;
  assert.equal(slim.z!.length, 84);
  assert.equal(slim.z![0]!.length, 50);
  assert.equal(slim.y[1], 4);
  const mean = (rows: readonly (readonly number[])[]) => {
    const cells = rows.flat();
    return cells.reduce((sum, value) => sum + value, 0) / cells.length;
  };
  assert.ok(Math.abs(mean(slim.z!) - mean(map.series[0]!.z!)) < 1e-3);
  assert.deepEqual(
    slimFigure(SAMPLE_FIGURES[2]!, 1e6).series[0]!.x,
    SAMPLE_FIGURES[2]!.series[0]!.x,
  );
});

Deno.test("escapes keep data inside its element", () => {
  assert.equal(escapeHtml('<a b="c">&'), "&lt;a b=&quot;c&quot;&gt;&amp;");
  assert.deepEqual(JSON.parse(escapeJson(JSON.stringify("</script>\u2028"))), "</script>\u2028");
  assert.equal(escapeJson('"</script>"').includes("<"), false);
  assert.equal(escapeScript('"</script><!--"'), '"\\x3c/script>\\x3c!--"');
});

Deno.test({
  name: "writeOutputs() writes Plotly JSON, SVG and PNG, also without a browser",
  sanitizeOps: false,
  sanitizeResources: false,
  fn: () =>
    withFolder(async (folder) => {
      using _ = useChromium("/bin/false");
      const [note, ...others] = await writeOutputs(folder, SAMPLE_RECORDS, OPTIONS);
      assert.match(note!, /^Drawn without \/bin\/false, which failed: /);
      assert.deepEqual(others, [`Report: ${join(folder, "report.html")}`]);
      const names = await readdir(join(folder, "figures"));
      assert.equal(names.length, 18);
      const plot = JSON.parse(
        await readFile(join(folder, "figures", "saliency_shift_bins.json"), "utf8"),
      );
      assert.equal(plot.data[0].type, "bar");
    }),
});

Deno.test({
  name: "writeOutputs() goes on without pictures that cannot be drawn, and says why",
  sanitizeOps: false,
  sanitizeResources: false,
  fn: () =>
    withFolder(async (folder) => {
      using _ = useChromium("none");
      const [record] = SAMPLE_RECORDS;
      const bins = record!.figures[2]!;
      const series = bins.series.map((bars) => ({ ...bars, x: bars.x.map((x) => `<b>${x}</b>`) }));
      const figures = [{ ...bins, series }];
      const [note] = await writeOutputs(folder, [{ ...record!, figures }], OPTIONS);
      assert.match(note!, /^No SVG and PNG: Cannot draw a figure without a browser: texts must be/);
      assert.equal((await readdir(join(folder, "figures"))).length, 1);
    }),
});

Deno.test("writeOutputs() keeps results of earlier runs in the report", () =>
  withFolder(async (folder) => {
    const second = SAMPLE_RECORDS[1];
    const first = { ...SAMPLE_RECORDS[0]!, figures: [] };
    await writeFile(join(folder, `${second!.name}.json`), JSON.stringify(second));
    await writeOutputs(folder, [first], OPTIONS);
    const html = await readFile(join(folder, "report.html"), "utf8");
    assert.ok(html.includes(`<section id="${second!.name}">`));
  }));

const chromium = await findChromium();
if (chromium === undefined) console.error("report: skipped, no Chromium was found");

Deno.test({
  name: "the report draws its figures, sorts its table and causes no message and no request",
  ignore: chromium === undefined,
  fn: () =>
    withFolder(async (folder) => {
      const path = join(folder, "report.html");
      await writeFile(path, await buildReport(SAMPLE_RECORDS));
      await using browser = await startChromium(chromium!);
      for (const width of [1200, 380]) {
        const page = await browser.newPage({ viewport: { width, height: 800 } });
        const events: string[] = [];
        page.on("console", (message) => events.push(message.text()));
        page.on("pageerror", (error) => events.push(error.message));
        page.on("request", (request) => {
          if (/^(?:https?|wss?|ftp):/.test(request.url())) events.push(request.url());
        });
        await page.goto(pathToFileURL(path).href);
        await page.waitForFunction('document.body.dataset.drawn === "6"');
        assert.equal(await page.locator(".plot svg.main-svg .cartesianlayer").count(), 6);
        assert.equal(await page.evaluate("document.documentElement.scrollWidth"), width);
        const column = (index: number) =>
          page.locator(`#verdicts tbody tr td:nth-child(${index})`).allInnerTexts();
        const sortBy = (title: string) =>
          page.locator("#verdicts th button", { hasText: title }).click();
        await sortBy("Claim");
        const claims = (await column(1)).map((text) => text.slice(0, 3));
        assert.deepEqual(claims, ["C01", "C02", "C03", "C04", "C10"]);
        await sortBy("Ours");
        await sortBy("Ours");
        const ours = await column(3);
        assert.match(ours[0]!, /7\.1/);
        assert.match(ours.at(-1)!, /–/);
        assert.deepEqual(events, []);
        await page.close();
      }
    }),
});

Deno.test({
  name: "writeOutputs() draws pictures once and again only when a figure changed",
  sanitizeOps: false,
  sanitizeResources: false,
  fn: () =>
    withFolder(async (folder) => {
      using _ = useChromium("none");
      const record = { ...SAMPLE_RECORDS[0]!, figures: SAMPLE_FIGURES.slice(2, 3) };
      const order = [record.name];
      await writeOutputs(folder, [record], { view: () => {}, order });
      const image = join(folder, "figures", "saliency_shift_bins.png");
      const before = (await stat(image)).mtimeMs;
      await writeOutputs(folder, [record], { view: () => {}, order });
      assert.equal((await stat(image)).mtimeMs, before);
      await writeOutputs(folder, [{ ...record, seed: 2 }], { view: () => {}, order });
      assert.notEqual((await stat(image)).mtimeMs, before);
      assert.deepEqual((await readdir(join(folder, "figures"))).sort(), [
        "saliency_shift_bins.json",
        "saliency_shift_bins.png",
        "saliency_shift_bins.svg",
      ]);
    }),
});
