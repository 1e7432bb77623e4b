import assert from "node:assert/strict";
import { inflateSync } from "node:zlib";
import { PixelContext } from "../../../experiments/figures/pixel_canvas.ts";

/** Rows of a PNG with one chunk of data, each with its filter in front. */
function rowsOf(url: string, width: number): number[][] {
  const file = Uint8Array.fromBase64(url.replace("data:image/png;base64,", ""));
  const view = new DataView(file.buffer);
  const at = 33; // signature and header
  assert.equal(view.getUint32(16), width);
  const rows = inflateSync(file.subarray(at + 8, at + 8 + view.getUint32(at)));
  const stride = 4 * width + 1;
  return Array.from({ length: rows.length / stride }, (_, row) => [
    ...rows.subarray(row * stride, (row + 1) * stride),
  ]);
}

Deno.test("PixelContext keeps rectangles, clipped to the canvas", () => {
  const context = new PixelContext(3, 2);
  context.fillStyle = "rgba(1,2,3,1)";
  context.fillRect(1, -1, 5, 2);
  context.fillStyle = "rgba(9,8,7,0)";
  context.fillRect(2, 0, 1, 1);
  const clear = [0, 0, 0, 0];
  assert.deepEqual(rowsOf(context.url(), 3), [
    [0, ...clear, 1, 2, 3, 255, 9, 8, 7, 0],
    [0, ...clear, ...clear, ...clear],
  ]);
});

Deno.test("PixelContext takes pixels over", () => {
  const context = new PixelContext(1, 2);
  const pixels = context.createImageData(1, 2);
  pixels.data.set([1, 2, 3, 4, 5, 6, 7, 8]);
  context.putImageData(pixels);
  assert.deepEqual(rowsOf(context.url(), 1), [[0, 1, 2, 3, 4], [0, 5, 6, 7, 8]]);
  assert.throws(() => context.putImageData(context.createImageData(2, 1)), /must be 1 x 2/);
});

Deno.test("PixelContext refuses colors that it cannot read", () => {
  const context = new PixelContext(1, 1);
  context.fillStyle = "red";
  assert.throws(() => context.fillRect(0, 0, 1, 1), /rgba\(\.\.\.\): current value is red/);
});
