import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertStrictEquals,
} from "@std/assert";
import type { Figure } from "../../../experiments/experiment.ts";
import { figureCaption } from "../../../experiments/figures/caption.ts";
import { findChromium, startChromium } from "../../../experiments/figures/chromium.ts";
import { seriesStyle } from "../../../experiments/figures/palette.ts";
import { FIGURE_WIDTH } from "../../../experiments/figures/layout.ts";
import { figureHeight, plotlyFigure } from "../../../experiments/figures/plotly_figure.ts";
import { drawFigures } from "../../../experiments/figures/static_images.ts";
import { plotlyValidator } from "../../support/plotly.ts";
import { SAMPLE_FIGURES, SAMPLE_RECORDS } from "../../support/sample_records.ts";

Deno.test("plotlyFigure() makes figures that Plotly's schema accepts", async () => {
  const validate = await plotlyValidator();
  for (const figure of SAMPLE_FIGURES) {
    for (const options of [{ caption: "n = 3." }, { isBare: true }]) {
      const faults = validate(plotlyFigure(figure, options));
      assertEquals(faults, [], figure.name);
    }
  }
  const { data, layout } = plotlyFigure(SAMPLE_FIGURES[0]!);
  assertNotEquals(validate({ data, layout: { ...layout, nonsense: 1 } }), []);
});

Deno.test("plotlyFigure() draws everything the paper states", () => {
  const { data, layout } = plotlyFigure(SAMPLE_FIGURES[0]!);
  const shapes = layout["shapes"] as unknown as { type: string; y1: number }[];
  assertEquals(shapes.map(({ type, y1 }) => [type, y1]), [["rect", 0.77]]);
  assertEquals(data.map((trace) => trace["name"]), [
    "own selection",
    "small-model-guided selection",
    "random sets",
    "paper, at 20 %",
    "paper, range of the curve",
  ]);
  assertMatch(figureCaption(SAMPLE_FIGURES[0]!, SAMPLE_RECORDS[0]!), /Stated: paper, average/);
});

Deno.test("plotlyFigure() draws intervals as bars or, for many points, as a band", () => {
  const [few] = plotlyFigure(SAMPLE_FIGURES[0]!).data;
  const errors = few!["error_y"] as { array: number[]; arrayminus: number[] };
  assert(Math.abs(errors.array[0]! - 0.06) < 1e-12);
  assert(Math.abs(errors.arrayminus[0]! - 0.05) < 1e-12);
  const many = plotlyFigure(SAMPLE_FIGURES[1]!).data;
  assertEquals(many.filter((trace) => trace["fill"] === "tonexty").length, 2);
});

Deno.test("plotlyFigure() escapes what Plotly would read as tags", () => {
  const title = plotlyFigure(SAMPLE_FIGURES[5]!).layout["title"] as { text: string };
  assertEquals(title.text, "Jaccard against cosine &lt;b>of heads&lt;/b> &amp; more");
});

Deno.test("plotlyFigure() escapes tags and entities in ticks and names, too", () => {
  const odd = ["<b>", "<s>", "&lt;", "a & b"];
  const shown = ["&lt;b>", "&lt;s>", "&amp;lt;", "a &amp; b"];
  const lines = { ...SAMPLE_FIGURES[2]!, series: [{ label: "<i>", x: odd, y: [1, 2, 3, 4] }] };
  const [trace] = plotlyFigure({ ...lines, kind: "line" }).data;
  assertEquals([trace!["x"], trace!["name"]], [shown, "&lt;i>"]);
  const z = odd.map(() => [0, 0, 0, 0]);
  const map = { ...SAMPLE_FIGURES[4]!, series: [{ label: "", x: odd, y: odd, z }] };
  const [cells] = plotlyFigure(map).data;
  assertEquals([cells!["x"], cells!["y"]], [shown, shown]);
});

Deno.test("plotlyFigure() moves whiskers of lines apart, by less than can be mistaken", () => {
  const { data } = plotlyFigure(SAMPLE_FIGURES[0]!);
  const first = data.slice(0, 3).map((trace) => (trace["x"] as number[])[0]!);
  assertEquals(new Set(first).size, 3);
  assertEquals(first[1], 10);
  for (const place of first) assert(Math.abs(place - 10) < 1);
});

Deno.test("plotlyFigure() leaves points of a logarithmic axis where they are", async () => {
  const sample = SAMPLE_FIGURES[0]!;
  const figure = plotlyFigure({ ...sample, isXLog: true });
  assertEquals((figure.layout["xaxis"] as { type: string }).type, "log");
  for (const trace of figure.data.slice(0, 3)) assertEquals(trace["x"], sample.series[0]!.x);
  assertEquals((await plotlyValidator())(figure), []);
});

Deno.test("figureCaption() says how an example was chosen", () => {
  const figure = { ...SAMPLE_FIGURES[2]!, contexts: 1, choice: "The first context." };
  assertMatch(figureCaption(figure, SAMPLE_RECORDS[0]!), /n = 1 context\. The first context\. Wh/);
});

Deno.test("figureCaption() states models, scale, n and what bars mean", () => {
  const caption = figureCaption(SAMPLE_FIGURES[2]!, SAMPLE_RECORDS[0]!);
  for (
    const part of [
      "1.5b",
      "0.5b",
      "scale small",
      "seed 1",
      "n = 12",
      "95 % intervals over contexts",
    ]
  ) {
    assert(caption.includes(part), part);
  }
});

Deno.test("seriesStyle() gives 35 series different looks", () => {
  const looks = Array.from({ length: 35 }, (_, index) => JSON.stringify(seriesStyle(index)));
  assertEquals(new Set(looks).size, 35);
});

Deno.test("plotlyFigure() copes with empty figures", () => {
  for (const { kind } of SAMPLE_FIGURES) {
    const empty: Figure = {
      name: "empty",
      title: "",
      kind,
      xTitle: "",
      yTitle: "",
      series: [{ label: "", x: [], y: [] }],
      paper: [],
    };
    plotlyFigure(empty, { caption: "" });
  }
});

const chromium = await findChromium();
if (chromium === undefined) console.error("figures: skipped, no Chromium was found");

Deno.test({
  name: "drawFigures() gives SVG and PNG of the right size, the same each time",
  ignore: chromium === undefined,
  async fn() {
    await using browser = await startChromium(chromium!);
    const figures = [SAMPLE_FIGURES[2]!, SAMPLE_FIGURES[4]!].map((figure) => plotlyFigure(figure));
    const images = await drawFigures(browser, figures, { scale: 1 });
    assertEquals(await drawFigures(browser, figures, { scale: 1 }), images);
    for (const [index, { svg, png }] of images.entries()) {
      assertMatch(svg, /^<svg [^]*<\/svg>$/);
      const view = new DataView(png.buffer, png.byteOffset);
      assertStrictEquals(view.getUint32(16), FIGURE_WIDTH);
      assertStrictEquals(view.getUint32(20), figureHeight(figures[index]!));
    }
  },
});
