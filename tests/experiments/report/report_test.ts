import {
  assert,
  assertEquals,
  assertMatch,
  assertNotStrictEquals,
  assertStrictEquals,
} from "@std/assert";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { findChromium, startChromium } from "../../../experiments/figures/chromium.ts";
import { escapeHtml, escapeJson, escapeScript } from "../../../experiments/report/html.ts";
import { resultMarkdown } from "../../../experiments/report/markdown.ts";
import { writeOutputs } from "../../../experiments/report/outputs.ts";
import { buildReport } from "../../../experiments/report/report.ts";
import { writeRecord } from "../../../experiments/runner/record.ts";
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
  assert(new TextEncoder().encode(html).length < 6e6);
  const page = html.slice(0, html.indexOf('<script type="application/json"'));
  assertEquals(/\s(?:src|href)="(?!#|data:)/.test(page), false);
  for (const part of ["78.22\u00a0%", "0.6123 [0.58, 0.6481]", "not comparable at this scale"]) {
    assert(page.includes(part), part);
  }
  assert(page.includes("Every head &lt;and&gt; its match"));
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
  assert(text.startsWith(`# ${record!.title}\n`));
  assert(text.includes(record!.command));
  assert(text.includes("78.22"));
  assert(text.includes("| a \\| b | share (%) |\n| :-- | --: |\n| x \\| y z | 12.35 |"));
  assert(text.endsWith("| nothing |  |\n\n## Notes\n\n- Mind this.\n"));
});

Deno.test("buildReport() stays under six million bytes with many large maps", async () => {
  const map = SAMPLE_FIGURES[4]!;
  const figures = Array.from({ length: 12 }, (_, index) => ({ ...map, name: `map${index}` }));
  const html = await buildReport([{ ...SAMPLE_RECORDS[0]!, figures }]);
  assert(new TextEncoder().encode(html).length < 6e6);
});

Deno.test("slimFigure() merges cells and keeps the mean", () => {
  const map = SAMPLE_FIGURES[4]!;
  const slim = slimFigure(map, 7 * 84 * 50).series[0]!;
  assertEquals(slim.z!.length, 84);
  assertEquals(slim.z![0]!.length, 50);
  assertEquals(slim.y[1], 4);
  const mean = (rows: readonly (readonly number[])[]) => {
    const cells = rows.flat();
    return cells.reduce((sum, value) => sum + value, 0) / cells.length;
  };
  assert(Math.abs(mean(slim.z!) - mean(map.series[0]!.z!)) < 1e-3);
  assertEquals(
    slimFigure(SAMPLE_FIGURES[2]!, 1e6).series[0]!.x,
    SAMPLE_FIGURES[2]!.series[0]!.x,
  );
});

Deno.test("escapes keep data inside its element", () => {
  assertEquals(escapeHtml('<a b="c">&'), "&lt;a b=&quot;c&quot;&gt;&amp;");
  assertEquals(JSON.parse(escapeJson(JSON.stringify("</script>\u2028"))), "</script>\u2028");
  assertEquals(escapeJson('"</script>"').includes("<"), false);
  assertEquals(escapeScript('"</script><!--"'), '"\\x3c/script>\\x3c!--"');
});

for (const path of ["none", "/bin/false"]) {
  Deno.test({
    name: `writeOutputs() writes Plotly JSON and pages where Chromium is ${path}, and says why`,
    // A Chromium that does not start leaves timers of its driver.
    sanitizeOps: path === "none",
    sanitizeResources: path === "none",
    fn: () =>
      withFolder(async (folder) => {
        using _ = useChromium(path);
        const outputs = await writeOutputs(folder, SAMPLE_RECORDS, OPTIONS);
        const [note, ...others] = outputs.notes;
        const reason = path === "none" ? "" : `/bin/false failed \\(.*\\): `;
        assertMatch(note!, new RegExp(`^Figures are HTML pages: ${reason}install Chromium`));
        assertEquals([others, outputs.report], [[], join(folder, "report.html")]);
        const names = await readdir(join(folder, "figures"));
        assertEquals(names.filter((name) => name.endsWith(".json")).length, 6);
        assertEquals(names.filter((name) => name.endsWith(".html")).length, 6);
        assertEquals(names.filter((name) => !/json$|html$/.test(name)), ["plotly.min.js"]);
        const read = (name: string) => readFile(join(folder, "figures", name), "utf8");
        const plot = JSON.parse(await read("saliency_shift_bins.json"));
        assertEquals(plot.data[0].type, "bar");
        const page = await read("saliency_shift_bins.html");
        assert(page.includes(escapeJson(JSON.stringify(plot))));
        assertEquals(page.match(/(?<=src=")[^"]+/g), ["plotly.min.js"]);
      }),
  });
}

Deno.test("writeOutputs() keeps results of earlier runs in the report", () =>
  withFolder(async (folder) => {
    const second = SAMPLE_RECORDS[1];
    const first = { ...SAMPLE_RECORDS[0]!, figures: [] };
    await writeRecord(folder, second!);
    await writeOutputs(folder, [first], OPTIONS);
    const html = await readFile(join(folder, "report.html"), "utf8");
    assert(html.includes(`<section id="${second!.name}">`));
  }));

Deno.test("writeOutputs() leaves a damaged result of an earlier run out and says so", () =>
  withFolder(async (folder) => {
    const second = SAMPLE_RECORDS[1]!;
    const first = { ...SAMPLE_RECORDS[0]!, figures: [] };
    const path = join(folder, `${second.name}.json`);
    await writeRecord(folder, second);
    const changed = (await readFile(path, "utf8")).replace('"value": 7.1', '"value": 7.2');
    for (const text of [changed, "{", '{"claims": 1}']) {
      await writeFile(path, text);
      const { notes } = await writeOutputs(folder, [first], OPTIONS);
      assertEquals(notes.length, 1);
      assertMatch(notes[0]!, /^head_similarity is left out of the report: Cannot use .*: current /);
      const html = await readFile(join(folder, "report.html"), "utf8");
      assert(!html.includes(`<section id="${second.name}">`));
      assert(html.includes("head_similarity is left out of the report: Cannot use"));
    }
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
        assertEquals(await page.locator(".plot svg.main-svg .cartesianlayer").count(), 6);
        assertStrictEquals(await page.evaluate("document.documentElement.scrollWidth"), width);
        const column = (index: number) =>
          page.locator(`#verdicts tbody tr td:nth-child(${index})`).allInnerTexts();
        const sortBy = (title: string) =>
          page.locator("#verdicts th button", { hasText: title }).click();
        await sortBy("Claim");
        const claims = (await column(1)).map((text) => text.slice(0, 3));
        assertEquals(claims, ["C01", "C02", "C03", "C04", "C10"]);
        await sortBy("Ours");
        await sortBy("Ours");
        const ours = await column(3);
        assertMatch(ours[0]!, /7\.1/);
        assertMatch(ours.at(-1)!, /–/);
        assertEquals(events, []);
        await page.close();
      }
    }),
});

Deno.test("writeOutputs() draws figures once and again only when one changed", () =>
  withFolder(async (folder) => {
    using _ = useChromium("none");
    const record = { ...SAMPLE_RECORDS[0]!, figures: SAMPLE_FIGURES.slice(2, 3) };
    const options = { ...OPTIONS, order: [record.name] };
    await writeOutputs(folder, [record], options);
    const page = join(folder, "figures", "saliency_shift_bins.html");
    const before = (await stat(page)).mtimeMs;
    await writeOutputs(folder, [record], options);
    assertStrictEquals((await stat(page)).mtimeMs, before);
    await writeOutputs(folder, [{ ...record, seed: 2 }], options);
    assertNotStrictEquals((await stat(page)).mtimeMs, before);
    assertEquals((await readdir(join(folder, "figures"))).sort(), [
      "plotly.min.js",
      "saliency_shift_bins.html",
      "saliency_shift_bins.json",
    ]);
  }));

Deno.test({
  name: "writeOutputs() replaces pages by pictures where a Chromium is found, the same each time",
  ignore: chromium === undefined,
  sanitizeOps: false,
  sanitizeResources: false,
  fn: () =>
    withFolder(async (folder) => {
      const [record] = SAMPLE_RECORDS;
      {
        using _ = useChromium("none");
        await writeOutputs(folder, [record!], OPTIONS);
      }
      const { notes } = await writeOutputs(folder, [record!], OPTIONS);
      assertEquals(notes, []);
      const names = await readdir(join(folder, "figures"));
      for (const extension of ["json", "svg", "png"]) {
        const count = names.filter((name) => name.endsWith(`.${extension}`)).length;
        assertEquals(count, record!.figures.length, extension);
      }
      assert(!names.some((name) => name.endsWith(".html")));
      const file = (name: string) => join(folder, "figures", name);
      const pictures = names.filter((name) => /\.(svg|png)$/.test(name));
      const read = () => Promise.all(pictures.map((name) => readFile(file(name))));
      const first = await read();
      for (const name of pictures) await rm(file(name));
      await writeOutputs(folder, [record!], OPTIONS);
      assertEquals(await read(), first);
    }),
});
