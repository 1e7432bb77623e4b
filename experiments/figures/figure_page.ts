/**
 * Plotly in a page without a browser, where the places of texts come from the metrics of one font.
 *
 * @module
 */

import { PixelContext } from "./pixel_canvas.ts";
import type { FontMetrics } from "./font_metrics.ts";
import type { PlotlyFigure } from "./plotly_figure.ts";
import { svgBox, type SvgElement } from "./svg_box.ts";

/** Traces whose pictures were compared with those of a browser. */
const KNOWN_TRACES: readonly unknown[] = ["scatter", "bar", "heatmap"];
/** Texts that one font of one weight cannot show, as Plotly writes them. */
const UNKNOWN_TEXTS =
  /font-weight:\s*(?!normal|400)\w+|font-style:\s*(?!normal)\w+|<tspan[^>]*font-size/;

/** The parts of a page's window that are used or stood in for. */
interface PageWindow {
  eval(source: string): void;
  close(): void;
  CSS?: { supports(): boolean };
  URL: { createObjectURL?: () => string };
  SVGElement: { prototype: Record<string, unknown> };
  HTMLCanvasElement: { prototype: Record<string, unknown> };
  Plotly: { toImage(figure: unknown, options: unknown): Promise<string> };
  JSON: typeof JSON;
}

/** A canvas element; its pixels are kept beside it. */
interface PageCanvas {
  readonly width: number;
  readonly height: number;
}

/** What a page needs. */
export interface FigurePageOptions {
  /** Plotly's source. */
  readonly plotly: string;
  /** Metrics of the font of all texts. */
  readonly font: FontMetrics;
}

/** A page that draws figures as SVG. */
export class FigurePage implements Disposable {
  readonly #window: PageWindow;

  private constructor(window: PageWindow) {
    this.#window = window;
  }

  /**
   * Loads Plotly into a new page.
   *
   * @param options Plotly and font.
   * @returns The page; the caller closes it.
   */
  static async open({ plotly, font }: FigurePageOptions): Promise<FigurePage> {
    const { JSDOM, VirtualConsole } = await import("jsdom");
    const { window } = new JSDOM("<!DOCTYPE html><body></body>", {
      runScripts: "outside-only",
      pretendToBeVisual: true,
      virtualConsole: new VirtualConsole(),
    });
    standIn(window as unknown as PageWindow, font);
    window.eval(plotly);
    return new FigurePage(window as unknown as PageWindow);
  }

  /**
   * Draws one figure; of a figure with a slider, what is shown first.
   *
   * @param figure The figure.
   * @param size Pixels.
   * @returns An SVG.
   * @throws {RangeError} If the figure holds what cannot be drawn rightly without a browser.
   */
  async draw(
    figure: PlotlyFigure,
    size: { readonly width: number; readonly height: number },
  ): Promise<string> {
    for (const { type = "scatter" } of figure.data) {
      if (!KNOWN_TRACES.includes(type)) {
        refuse(`traces must be of ${KNOWN_TRACES.join(", ")}`, type);
      }
    }
    const { Plotly, JSON: pageJson } = this.#window;
    const own = pageJson.parse(JSON.stringify(figure));
    const options = { ...size, format: "svg", imageDataOnly: true };
    const svg = await Plotly.toImage(own, options);
    const text = svg.match(UNKNOWN_TEXTS)?.[0];
    if (text !== undefined) refuse("texts must be upright, regular and of one size", text);
    return svg;
  }

  /** Frees the page. */
  [Symbol.dispose](): void {
    this.#window.close();
  }
}

function refuse(requirement: string, value: unknown): never {
  throw new RangeError(
    `Cannot draw a figure without a browser: ${requirement}: current value is ${value}: ` +
      "install Chromium, or name one in CHROMIUM_PATH",
  );
}

/** Gives a page the functions of a browser that Plotly calls while it lays figures out. */
function standIn(window: PageWindow, font: FontMetrics): void {
  function boxOf(this: SvgElement) {
    const { left, top, right, bottom } = svgBox(this, font) ??
      { left: 0, top: 0, right: 0, bottom: 0 };
    return { left, top, right, bottom, x: left, y: top, width: right - left, height: bottom - top };
  }
  const contexts = new WeakMap<object, PixelContext>();
  function contextOf(this: PageCanvas): PixelContext {
    const context = contexts.get(this) ?? new PixelContext(this.width, this.height);
    contexts.set(this, context);
    return context;
  }
  Object.assign(window.SVGElement.prototype, { getBoundingClientRect: boxOf, getBBox: boxOf });
  Object.assign(window.HTMLCanvasElement.prototype, {
    getContext: contextOf,
    toDataURL(this: PageCanvas) {
      return contextOf.call(this).url();
    },
  });
  // Heat maps are then painted pixel by pixel in their final size, so that nothing enlarges them.
  window.CSS = { supports: () => false };
  window.URL.createObjectURL = () => "";
}
