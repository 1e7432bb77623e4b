import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import { isSameNumber, isSameText, machineNames, stripText } from "../../tools/notebook_text.ts";

Deno.test("stripText() takes out times and colors, and leaves other numbers", () => {
  const cases = [
    ["Load: done after 4.2 s", "Load: done after … s"],
    ["took 3 min 05 s", "took … s"],
    ["took 2 h 10 min", "took … s"],
    ["35 tokens/s at 12 tokens", "… tokens/s at 12 tokens"],
    ["\u001b[33m7\u001b[39m heads", "7 heads"],
    ["started 2026-03-01T10:20:30.5Z", "started …"],
    ["layer 2 h2o 3 sinks", "layer 2 h2o 3 sinks"],
    ["5 samples, 10 % of 2.5", "5 samples, 10 % of 2.5"],
  ];
  for (const [text, expected] of cases) assertStrictEquals(stripText(text!), expected);
});

Deno.test("stripText() replaces names of the machine, longest first", () => {
  const names = [
    { name: "/home/ann/lab", placeholder: "PROJECT" },
    { name: "/home/ann", placeholder: "HOME" },
  ];
  assertEquals(stripText("/home/ann/lab/a and /home/ann/b", names), "PROJECT/a and HOME/b");
  assert(machineNames("/some/project/").some(({ name }) => name === "/some/project"));
});

Deno.test("isSameNumber() compares to three significant digits without a cliff", () => {
  const same = [[1, 1], [0.12349, 0.12351], [1234, 1236], [-0.5, -0.5002], [1e-9, -2e-9], [0, 0]];
  for (const [a, b] of same) assert(isSameNumber(a!, b!), `${a} ${b}`);
  const different = [[1, 1.01], [100, 101], [0.5, -0.5], [1, Infinity], [0.001, 0.00101]];
  for (const [a, b] of different) assert(!isSameNumber(a!, b!), `${a} ${b}`);
  assert(isSameNumber(NaN, NaN));
});

Deno.test("isSameText() compares words exactly and numbers to three digits", () => {
  assert(isSameText("cosine 0.84461 [0.8259]\n------", "cosine 0.8446   [0.82591]\n---"));
  assert(!isSameText("cosine 0.8446", "cosine 0.8546"));
  assert(!isSameText("cosine 0.8446", "jaccard 0.8446"));
  assert(!isSameText("1 2", "1"));
  assert(!isSameText("layer-1", "layer-12"));
});
