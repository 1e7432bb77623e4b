import { assertEquals, assertMatch } from "@std/assert";
import { ChoiceError } from "../../cache/choice.ts";
import { errorText } from "../../cli/command_line.ts";
import { DataError, GpuError, RequirementError, UsageError } from "../../core/check.ts";

const refusal = { action: "match heads", requirement: "topShare must lie in (0, 1]", current: 2 };

Deno.test("errorText() gives the message of a house error alone", () => {
  for (const ErrorClass of [DataError, GpuError, UsageError]) {
    assertEquals(errorText(new ErrorClass("Cannot open it")), "Cannot open it");
  }
  const text = "Cannot match heads: topShare must lie in (0, 1]: current value is 2";
  assertEquals(errorText(new RequirementError(refusal)), text);
  assertEquals(errorText(new ChoiceError("topShare", refusal)), text);
});

Deno.test("errorText() calls every other error internal and gives its stack, whatever its words", () => {
  for (const ErrorClass of [Error, RangeError, SyntaxError, TypeError]) {
    const text = errorText(new ErrorClass("Cannot read properties of undefined (reading 'a')"));
    assertMatch(text, /^Internal error, please report: \w*Error: Cannot read properties of/);
    assertMatch(text, /at .*command_line_test\.ts/);
  }
  assertEquals(errorText("Cannot go on"), "Internal error, please report: Cannot go on");
});
