import { assertEquals, assertMatch } from "@std/assert";
import { printableText } from "../../core/printable.ts";

Deno.test("printableText() shows what would act on a terminal", () => {
  const cases: [string, string][] = [
    [
      "plain\ttext\nof \u4e2d\u6587 and \ud83e\udd9c\r\n",
      "plain\ttext\nof \u4e2d\u6587 and \ud83e\udd9c\r\n",
    ],
    ["\x1b[2Ja\x07", "\\u001b[2Ja\\u0007"],
    ["\x9b31m\x7f\x00", "\\u009b31m\\u007f\\u0000"],
    ["ok\rno", "ok\\u000dno"],
    ["a\u202etxt\u2066b", "a\\u202etxt\\u2066b"],
    // Marks that right-to-left text needs.
    ["\u05d0\u200f\u200d", "\u05d0\u200f\u200d"],
  ];
  for (const [text, shown] of cases) assertEquals(printableText(text), shown);
  const all = Array.from({ length: 0x2100 }, (_, code) => String.fromCharCode(code)).join("");
  assertMatch(printableText(all), /^[^\p{Cc}]*\t\n[^\p{Cc}]*$/u);
  assertEquals(JSON.parse(printableText(JSON.stringify(all))), all);
});
