/**
 * Tests of `kernels/write_out.ts`.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import { writeOut } from "../../kernels/write_out.ts";

const TEXT = `const COUNT: u32 = 7;  // a comment stays
const CAP: f32 = 0.0;
const OTHER: u32 = 5;
//# if IS_WIDE
wide
//# if !COUNT
never
//# end
//# else
narrow
//# end
for (var i = 0u; i < COUNT; i++) {  // unroll
  let x = a[i] + index;
  for (var r = 0u; r < ROWS; r++) {  // unroll
    b[r] = x * i;
//# if r
    last;
//# end
  }
}
for (var i = 0u; i < COUNT; i++) {
}`;

Deno.test("writeOut() fills in constants, chooses lines and writes marked loops out", () => {
  const constants = { COUNT: 2, CAP: 0.5, ROWS: 2, IS_WIDE: 0 };
  const expected = `const COUNT: u32 = u32(2);  // a comment stays
const CAP: f32 = f32(0.5);
const OTHER: u32 = 5;
narrow
{
  let x = a[0u] + index;
  b[0u] = x * 0u;
  b[1u] = x * 0u;
  last;
}
{
  let x = a[1u] + index;
  b[0u] = x * 1u;
  b[1u] = x * 1u;
  last;
}
for (var i = 0u; i < COUNT; i++) {
}`;
  const written = writeOut(TEXT, constants);
  assertEquals(
    written.split("\n").map((line) => line.trim()),
    expected.split("\n").map((line) => line.trim()),
  );
  assertEquals(writeOut(TEXT, { ...constants, IS_WIDE: 1 }).split("\n")[3], "wide");
});

Deno.test("writeOut() refuses names that are not constants, and blocks that are not closed", () => {
  assertThrows(
    () => writeOut("//# if A\n//# end", { B: 1 }),
    RequirementError,
    "must name one of B: current value is A",
  );
  assertThrows(
    () => writeOut("//# if B", { B: 1 }),
    RequirementError,
    "conditions and marked loops must end",
  );
  const loop = "for (var i = 0u; i < B; i++) {  // unroll\n  x\n";
  assertThrows(
    () => writeOut(loop, { B: 1 }),
    RequirementError,
    "conditions and marked loops must end",
  );
  assertThrows(() => writeOut(`${loop}}`, {}), RequirementError, "current value is B");
});
