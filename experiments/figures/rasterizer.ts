/**
 * Turns SVG into PNG without a browser.
 *
 * @module
 */

import { readFile } from "node:fs/promises";

/** How large a picture gets. */
export interface RasterOptions {
  /** Pixels per unit of the SVG. */
  readonly scale: number;
}

/** A loaded renderer with one font. */
export type Rasterizer = (svg: string, options: RasterOptions) => Uint8Array;

/** Drawn as nearest pixel: cells of heat maps keep their edges. */
const OPTIMIZE_SPEED = 1;

/** The renderer may be started only once in a process. */
const started: { renderer?: Promise<typeof import("@resvg/resvg-wasm").Resvg> } = {};

/**
 * Reads the font of pictures that are drawn without a browser.
 *
 * @returns Content of a `.ttf` file.
 */
export async function pictureFont(): Promise<Uint8Array> {
  return await readFile(new URL(import.meta.resolve("dejavu-fonts-ttf/ttf/DejaVuSans.ttf")));
}

/**
 * Starts the renderer.
 *
 * @param font Content of the `.ttf` file that all texts are drawn with.
 * @returns A function that draws.
 */
export async function loadRasterizer(font: Uint8Array): Promise<Rasterizer> {
  started.renderer ??= startRenderer();
  const Resvg = await started.renderer;
  return (svg, { scale }) => {
    // The renderer does not find what is named in quotation marks.
    const plain = svg.replaceAll(/url\((['"]|&quot;)(#[^)]*?)\1\)/g, "url($2)");
    const picture = new Resvg(plain, {
      font: { fontBuffers: [font], sansSerifFamily: "DejaVu Sans" },
      imageRendering: OPTIMIZE_SPEED,
      fitTo: { mode: "zoom", value: scale },
    });
    try {
      return picture.render().asPng();
    } finally {
      picture.free();
    }
  };
}

async function startRenderer(): Promise<typeof import("@resvg/resvg-wasm").Resvg> {
  const { initWasm, Resvg } = await import("@resvg/resvg-wasm");
  await initWasm(await readFile(new URL(import.meta.resolve("@resvg/resvg-wasm/index_bg.wasm"))));
  return Resvg;
}
