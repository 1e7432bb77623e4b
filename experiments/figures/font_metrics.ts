/**
 * Widths of text in the font that pictures are drawn with where there is no browser.
 *
 * @see {@link https://learn.microsoft.com/typography/opentype/spec/otff | OpenType, tables cmap, head, hhea, hmtx}
 * @module
 */

/** Lengths of a font as shares of its size. */
export interface FontMetrics {
  /** Height above the baseline. */
  readonly ascent: number;
  /** Depth below the baseline, positive. */
  readonly descent: number;
  /** Width of a text. */
  width(text: string): number;
}

/**
 * Reads the metrics of a TrueType font.
 *
 * @param file Content of the `.ttf` file.
 * @returns Ascent, descent and widths.
 * @throws {TypeError} If it has no table of Unicode characters that can be read.
 */
export function fontMetrics(file: Uint8Array): FontMetrics {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const tables = tableOffsets(view);
  const unitsPerEm = view.getUint16(tables("head") + 18);
  const header = tables("hhea");
  const lastAdvance = view.getUint16(header + 34) - 1;
  const advances = tables("hmtx");
  const glyphs = glyphTable(view, tables("cmap"));
  const advance = (character: string) => {
    const glyph = glyphs.get(character.codePointAt(0)!) ?? 0;
    return view.getUint16(advances + 4 * Math.min(glyph, lastAdvance)) / unitsPerEm;
  };
  return {
    ascent: view.getInt16(header + 4) / unitsPerEm,
    descent: -view.getInt16(header + 6) / unitsPerEm,
    width: (text) => Array.from(text).reduce((sum, character) => sum + advance(character), 0),
  };
}

function tableOffsets(view: DataView): (tag: string) => number {
  const offsets = new Map<string, number>();
  for (let entry = 0; entry < view.getUint16(4); entry++) {
    const at = 12 + 16 * entry;
    const tag = [0, 1, 2, 3].map((byte) => String.fromCharCode(view.getUint8(at + byte))).join("");
    offsets.set(tag, view.getUint32(at + 8));
  }
  return (tag) => {
    const offset = offsets.get(tag);
    if (offset !== undefined) return offset;
    throw new TypeError(
      `Cannot read a font: it must have a table "${tag}": current tables are ${
        [...offsets.keys()].join(", ")
      }`,
    );
  };
}

/** Glyph of each character, from the segments of a table of format 12. */
function glyphTable(view: DataView, cmap: number): Map<number, number> {
  for (let entry = 0; entry < view.getUint16(cmap + 2); entry++) {
    const table = cmap + view.getUint32(cmap + 8 + 8 * entry);
    if (view.getUint16(table) !== 12) continue;
    const glyphs = new Map<number, number>();
    for (let group = 0; group < view.getUint32(table + 12); group++) {
      const at = table + 16 + 12 * group;
      const [first, last, glyph] = [0, 4, 8].map((offset) => view.getUint32(at + offset));
      for (let code = first!; code <= last!; code++) glyphs.set(code, glyph! + code - first!);
    }
    return glyphs;
  }
  throw new TypeError(
    "Cannot read a font: it must list its characters in a table of format 12: current value is none",
  );
}
