/**
 * The little of a canvas that heat maps are painted with, for pages without a browser.
 *
 * @see {@link https://www.w3.org/TR/png-3/ | PNG, third edition}
 * @module
 */

import { Buffer } from "node:buffer";
import { crc32, deflateSync } from "node:zlib";

/** Pixels as a canvas hands them out. */
export interface Pixels {
  /** Columns. */
  readonly width: number;
  /** Rows. */
  readonly height: number;
  /** Red, green, blue and opacity of each pixel, 0 to 255, [height, width, 4]. */
  readonly data: Uint8ClampedArray;
}

/** Stands in for the two-dimensional context of a canvas element. */
export class PixelContext {
  /** Color of rectangles, `rgba(red,green,blue,opacity)`. */
  fillStyle = "rgba(0,0,0,1)";
  #pixels: Pixels;

  /**
   * @param width Columns of the canvas.
   * @param height Its rows.
   */
  constructor(width: number, height: number) {
    this.#pixels = this.createImageData(width, height);
  }

  /**
   * Makes pixels that are clear.
   *
   * @param width Columns.
   * @param height Rows.
   */
  createImageData(width: number, height: number): Pixels {
    return { width, height, data: new Uint8ClampedArray(4 * width * height) };
  }

  /**
   * Takes over pixels that cover the canvas.
   *
   * @param pixels As many as the canvas has.
   * @throws {TypeError} If they are more or fewer.
   */
  putImageData(pixels: Pixels): void {
    const { width, height } = this.#pixels;
    if (pixels.width !== width || pixels.height !== height) {
      throw new TypeError(
        `Cannot paint pixels: they must be ${width} x ${height}: current size is ` +
          `${pixels.width} x ${pixels.height}`,
      );
    }
    this.#pixels = pixels;
  }

  /**
   * Fills a rectangle; what was below it is gone.
   *
   * @param sides Left, top, width and height.
   */
  fillRect(...[x, y, width, height]: [number, number, number, number]): void {
    const { width: columns, height: rows, data } = this.#pixels;
    const color = colorBytes(this.fillStyle);
    const [left, right] = [Math.max(0, x), Math.min(columns, x + width)];
    for (let row = Math.max(0, y); row < Math.min(rows, y + height); row++) {
      for (let column = left; column < right; column++) {
        data.set(color, 4 * (row * columns + column));
      }
    }
  }

  /**
   * What was painted.
   *
   * @returns A PNG as a URL.
   */
  url(): string {
    return `data:image/png;base64,${encodePng(this.#pixels).toString("base64")}`;
  }
}

function colorBytes(style: string): number[] {
  const channels = (style.match(/^rgba\(([^)]*)\)$/)?.[1] ?? "").split(",").map(Number);
  if (channels.length !== 4 || channels.some(Number.isNaN)) {
    throw new TypeError(
      `Cannot paint a rectangle: its color must be rgba(...): current value is ${style}`,
    );
  }
  return [...channels.slice(0, 3), 255 * channels[3]!];
}

const SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10);
/** Eight bits in each of four channels, no interlacing. */
const FORMAT = [8, 6, 0, 0, 0];

function encodePng({ width, height, data }: Pixels): Buffer {
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set(FORMAT, 8);
  // Each row begins with the number of its filter; 0 is none.
  const stride = 4 * width + 1;
  const rows = new Uint8Array(height * stride);
  for (let row = 0; row < height; row++) {
    rows.set(data.subarray(4 * width * row, 4 * width * (row + 1)), row * stride + 1);
  }
  const parts = [chunk("IHDR", header), chunk("IDAT", deflateSync(rows)), chunk("IEND")];
  return Buffer.concat([SIGNATURE, ...parts]);
}

function chunk(type: string, content: Uint8Array = new Uint8Array()): Uint8Array {
  const bytes = new Uint8Array(12 + content.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, content.length);
  bytes.set(new TextEncoder().encode(type), 4);
  bytes.set(content, 8);
  view.setUint32(8 + content.length, crc32(bytes.subarray(4, 8 + content.length)));
  return bytes;
}
