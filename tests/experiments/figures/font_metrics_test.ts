import assert from "node:assert/strict";
import { fontMetrics } from "../../../experiments/figures/font_metrics.ts";
import { pictureFont } from "../../../experiments/figures/rasterizer.ts";

const font = fontMetrics(await pictureFont());

Deno.test("fontMetrics() reads ascent, descent and advances of DejaVu Sans", () => {
  // From the tables hhea and hmtx of the font, in units of 2048 per em.
  assert.equal(font.ascent, 1901 / 2048);
  assert.equal(font.descent, 483 / 2048);
  const advances = { " ": 651, "i": 569, "m": 1995, "W": 2025, "\u03c4": 1233, "\u2265": 1716 };
  for (const [character, advance] of Object.entries(advances)) {
    assert.equal(font.width(character) * 2048, advance, character);
  }
  assert.equal(font.width("im i") * 2048, 569 + 1995 + 651 + 569);
  assert.equal(font.width(""), 0);
});

Deno.test("fontMetrics() gives characters that the font lacks the width of its empty box", () => {
  assert.equal(font.width("\u4e2d"), font.width("\uffff"));
  assert.ok(font.width("\u4e2d") > 0);
});

Deno.test("fontMetrics() refuses files that are not fonts", () => {
  assert.throws(() => fontMetrics(new Uint8Array(20)), /it must have a table "head"/);
});
