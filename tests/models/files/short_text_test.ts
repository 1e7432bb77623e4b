import { assertEquals } from "@std/assert";
import { decodeShort } from "../../../models/files/short_text.ts";

const expected = (bytes: Uint8Array) => new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);

Deno.test("decodeShort() decodes texts of every length of characters", () => {
  for (
    const text of ["", "a", "Ġthe", "é߿", "ࠀ中￿", "\ufeffb", "a😀", "ä".repeat(99), "z".repeat(500)]
  ) {
    const bytes = new TextEncoder().encode(`..${text}..`);
    assertEquals(decodeShort(bytes, 2, bytes.length - 2), text);
  }
});

Deno.test("decodeShort() replaces what is not valid as TextDecoder does", () => {
  const edges = [
    0,
    0x41,
    0x7f,
    0x80,
    0xbf,
    0xc0,
    0xc1,
    0xc2,
    0xdf,
    0xe0,
    0xed,
    0xef,
    0xf0,
    0xf4,
    0xff,
    0x9f,
    0xa0,
  ];
  for (const a of edges) {
    for (const b of edges) {
      for (const c of edges) {
        const bytes = Uint8Array.of(a, b, c);
        assertEquals(decodeShort(bytes, 0, 3), expected(bytes), `${bytes}`);
        assertEquals(decodeShort(bytes, 0, 2), expected(bytes.subarray(0, 2)), `${bytes}`);
      }
    }
  }
});
