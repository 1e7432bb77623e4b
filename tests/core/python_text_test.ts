import { assertEquals } from "@std/assert";
import { splitWords, strip, stripEnd, stripStart } from "../../core/python_text.ts";

// What `str.isspace()` accepts, from U+0000 to U+FFFF, in CPython 3.11.
const SPACES = [9, 10, 11, 12, 13, 28, 29, 30, 31, 32, 133, 160, 5760, 8192, 8193, 8194, 8195, 8196]
  .concat([8197, 8198, 8199, 8200, 8201, 8202, 8232, 8233, 8239, 8287, 12288]);

Deno.test("splitWords() and strip() know Python's white space and no other", () => {
  for (let code = 0; code < 0xd800; code++) {
    const character = String.fromCharCode(code);
    const isSpace = SPACES.includes(code);
    assertEquals(splitWords(`a${character}b`).length, isSpace ? 2 : 1, String(code));
    if (isSpace) assertEquals(strip(`${character}x${character}`), "x");
  }
  assertEquals(splitWords(" \n"), []);
  assertEquals([stripStart(" \u{1f600} "), stripEnd(" \u{1f600} ")], ["\u{1f600} ", " \u{1f600}"]);
  assertEquals(strip("\ufeff"), "\ufeff");
});
