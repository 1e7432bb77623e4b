import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { inflateSync } from "node:zlib";
import { findChromium, startChromium } from "../../../experiments/figures/chromium.ts";
import { FIGURE_WIDTH } from "../../../experiments/figures/layout.ts";
import {
  browserPainter,
  openPagePainter,
  openPainter,
} from "../../../experiments/figures/painter.ts";
import {
  figureHeight,
  type PlotlyFigure,
  plotlyFigure,
} from "../../../experiments/figures/plotly_figure.ts";
import { useChromium } from "../../support/chromium.ts";
import { SAMPLE_FIGURES } from "../../support/sample_records.ts";

const PLOTLY = "application/vnd.plotly.v1+json";
const CAPTION = "large / small, n = 3 contexts. Whiskers or bands: 95 % bootstrap intervals.";

/** Sub-plots, and a heat map that is painted cell by cell because of its gaps and unequal columns. */
const SUBPLOTS: PlotlyFigure = {
  data: [
    { type: "heatmap", x: [1, 2, 4, 8], y: [1, 2], z: [[1, 2, 3, 4], [4, null, 2, 1]], xgap: 4 },
    { type: "bar", x: ["a", "b"], y: [1, 2], xaxis: "x2", yaxis: "y2" },
    { mode: "lines+markers", x: ["a", "b"], y: [2, 1], xaxis: "x2", yaxis: "y2" },
  ],
  layout: {
    ...plotlyFigure(SAMPLE_FIGURES[0]!).layout,
    shapes: [],
    grid: { rows: 1, columns: 2, pattern: "independent" },
    xaxis2: { title: { text: "name" } },
    yaxis2: { title: { text: "value" } },
  },
};

/** Every kind of figure of experiments, and the views that notebooks store. */
function allFigures(): PlotlyFigure[] {
  const samples = SAMPLE_FIGURES.map((figure) => plotlyFigure(figure, { caption: CAPTION }));
  const stored = ["01_first_look", "03_saliency_shift"].flatMap((name) => {
    const file = new URL(`../../../notebooks/${name}.ipynb`, import.meta.url);
    const { cells } = JSON.parse(Deno.readTextFileSync(file));
    const outputs = cells.flatMap((cell: { outputs?: unknown[] }) => cell.outputs ?? []);
    return outputs.flatMap((output: { data?: Record<string, PlotlyFigure> }) =>
      output.data?.[PLOTLY] ?? []
    );
  });
  return [...samples, ...stored, SUBPLOTS];
}

/** Decodes the PNG files of both painters: eight bits, three or four channels, not interlaced. */
function decodePng(file: Uint8Array): { width: number; height: number; planes: Float64Array[] } {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const [width, height] = [view.getUint32(16), view.getUint32(20)];
  const channels = file[25] === 6 ? 4 : 3;
  const data: Uint8Array[] = [];
  for (let at = 8; at < file.length; at += 12 + view.getUint32(at)) {
    if (view.getUint32(at + 4) !== 0x49444154) continue;
    data.push(file.subarray(at + 8, at + 8 + view.getUint32(at)));
  }
  const rows = inflateSync(Buffer.concat(data));
  const stride = channels * width;
  const before = new Uint8Array(stride);
  const planes = [0, 1, 2].map(() => new Float64Array(width * height));
  for (let row = 0; row < height; row++) {
    const line = rows.subarray(row * (stride + 1) + 1, (row + 1) * (stride + 1));
    const filter = rows[row * (stride + 1)]!;
    for (let index = 0; index < stride; index++) {
      const left = index < channels ? 0 : line[index - channels]!;
      const corner = index < channels ? 0 : before[index - channels]!;
      line[index]! += predicted(filter, [left, before[index]!, corner]);
    }
    before.set(line);
    planes.forEach((plane, channel) => {
      for (let x = 0; x < width; x++) plane[row * width + x] = line[channels * x + channel]!;
    });
  }
  return { width, height, planes };
}

function predicted(filter: number, [left, up, corner]: [number, number, number]): number {
  if (filter === 3) return (left + up) >> 1;
  if (filter < 3) return [0, left, up][filter]!;
  const [a, b, c] = [left, up, corner].map((value) => Math.abs(left + up - corner - value));
  return a! <= b! && a! <= c! ? left : b! <= c! ? up : corner;
}

/** Largest difference of the mean color of any block of 12 pixels, of 255. */
function largestDifference(one: Uint8Array, other: Uint8Array): number {
  const [a, b] = [decodePng(one), decodePng(other)];
  assert.deepEqual([a.width, a.height], [b.width, b.height]);
  let largest = 0;
  for (const [channel, plane] of a.planes.entries()) {
    for (let top = 0; top + 12 <= a.height; top += 6) {
      for (let left = 0; left + 12 <= a.width; left += 6) {
        let sum = 0;
        for (let pixel = 0; pixel < 144; pixel++) {
          const at = (top + Math.floor(pixel / 12)) * a.width + left + pixel % 12;
          sum += plane[at]! - b.planes[channel]![at]!;
        }
        largest = Math.max(largest, Math.abs(sum) / 144);
      }
    }
  }
  return largest;
}

/** Names and texts of elements, and the numbers of their places. */
function elementsOf(svg: string): { readonly names: string[]; readonly places: number[] } {
  const tags = svg.split("><");
  const places = tags.flatMap((tag) =>
    ["x", "y", "width", "height", "transform"].flatMap((name) => {
      const value = tag.match(new RegExp(` ${name}="([^"]*)"`))?.[1] ?? "";
      return (value.match(/-?[\d.]+/g) ?? []).map(Number);
    })
  );
  return {
    names: tags.map((tag) => `${tag.split(/[\s<>]/)[0]} ${tag.match(/>([^<]*)</)?.[1] ?? ""}`),
    places,
  };
}

function usesDejaVu(): boolean {
  try {
    const command = new Deno.Command("fc-match", { args: ["system-ui"] });
    return new TextDecoder().decode(command.outputSync().stdout).startsWith("DejaVuSans.ttf");
  } catch {
    return false;
  }
}

const chromium = await findChromium();
const isComparable = chromium !== undefined && usesDejaVu();
if (!isComparable) console.error("painter: not compared, Chromium with DejaVu Sans is missing");

Deno.test({
  name: "pictures drawn without a browser are those of Chromium, for every figure there is",
  ignore: !isComparable,
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    const figures = allFigures();
    await using browser = browserPainter(await startChromium(chromium!));
    await using page = await openPagePainter();
    const [expected, drawn] = await Promise.all(
      [browser, page].map((painter) => painter.draw(figures, { scale: 1 })),
    );
    for (const [index, { svg, png }] of drawn!.entries()) {
      const name = JSON.stringify(figures[index]!.layout["title"]);
      const [own, theirs] = [elementsOf(svg), elementsOf(expected![index]!.svg)];
      assert.deepEqual(own.names, theirs.names, name);
      assert.equal(own.places.length, theirs.places.length, name);
      const moved = Math.max(
        ...own.places.map((place, at) => Math.abs(place - theirs.places[at]!)),
      );
      assert.ok(moved < 1.5, `${name}: something is ${moved} pixels away`);
      const difference = largestDifference(png, expected![index]!.png);
      // Edges of letters differ by 8 to 20, and columns of heat maps that are hardly a pixel wide by up to
      // 75, since they fall on one pixel or two; a color bar without colors differs by 180.
      assert.ok(difference < 100, `${name}: a block of pixels differs by ${difference} of 255`);
    }
  },
});

Deno.test({
  name: "openPainter() draws without a browser where none is found or none starts, and says so",
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    for (const path of ["none", "/bin/false"]) {
      using _ = useChromium(path);
      await using painter = await openPainter();
      assert.equal(
        painter.note?.startsWith("Drawn without /bin/false, which failed: "),
        {
          none: undefined,
          "/bin/false": true,
        }[path],
      );
      const figure = plotlyFigure(SAMPLE_FIGURES[2]!, { caption: CAPTION });
      let count = 0;
      const [image] = await painter.draw([figure], { onFigure: () => count++ });
      assert.equal(count, 1);
      const view = new DataView(image!.png.buffer, image!.png.byteOffset);
      assert.equal(view.getUint32(16), 2 * FIGURE_WIDTH);
      assert.equal(view.getUint32(20), 2 * figureHeight(figure));
      assert.match(image!.svg, /share of the mass[^]*95 % bootstrap/);
    }
  },
});

Deno.test({
  name: "openPagePainter() refuses what it cannot draw rightly",
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    await using painter = await openPagePainter();
    const { data, layout } = plotlyFigure(SAMPLE_FIGURES[2]!);
    const pie = { data: [{ type: "pie", values: [1, 2] }], layout };
    await assert.rejects(painter.draw([pie]), /traces must be of scatter, bar, heatmap: .* pie/);
    for (const text of ["<b>bold</b>", "<i>slanted</i>", "x<sup>2</sup>"]) {
      const figure = { data, layout: { ...layout, title: { text } } };
      await assert.rejects(painter.draw([figure]), /texts must be upright/, text);
    }
  },
});
