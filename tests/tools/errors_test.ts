import { assertEquals } from "@std/assert";
import plugin from "../../tools/errors.ts";

const root = new URL("../../", import.meta.url).pathname;

function problems(path: string, source: string): number {
  return Deno.lint.runPlugin(plugin, `${root}${path}`, source).length;
}

Deno.test("errors rule rejects errors of the language in the product, however they are made", () => {
  for (const made of ['new Error("x")', 'new TypeError("x")', 'RangeError("x")', "new Error()"]) {
    assertEquals(problems("core/x.ts", `throw ${made};`), 1, made);
    assertEquals(problems("models/hub/x.ts", `export const f = () => ${made};`), 1, made);
  }
});

Deno.test("errors rule accepts the classes of the house, and anything in tests and tools", () => {
  assertEquals(problems("core/x.ts", 'throw new DataError("x"); throw new DOMException();'), 0);
  assertEquals(problems("core/x.ts", "if (x instanceof TypeError) throw x;"), 0);
  for (const path of ["tests/x.ts", "tools/x.ts", "bench/x.ts"]) {
    assertEquals(problems(path, 'throw new Error("x");'), 0, path);
  }
});
