import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  checkInteger,
  checkLength,
  DataError,
  GpuError,
  LabError,
  RequirementError,
  UsageError,
} from "../../core/check.ts";

Deno.test("checkInteger returns when the value lies within bounds, both ends included", () => {
  checkInteger("match heads", "matchTokens", { value: 100, min: 100, max: 200 });
  checkInteger("match heads", "matchTokens", { value: 200, min: 100, max: 200 });
  checkInteger("match heads", "offset", { value: -3 });
});

Deno.test("checkInteger names action, argument, bounds and value when it throws", () => {
  const cases = [
    [{ value: 64, min: 100, max: 200 }, "from 100 to 200: current value is 64"],
    [{ value: 0, min: 1 }, "at least 1: current value is 0"],
    [{ value: 9, max: 8 }, "at most 8: current value is 9"],
    [{ value: 1.5, min: 1, max: 2 }, "from 1 to 2: current value is 1.5"],
    [{ value: NaN, min: 1, max: 2 }, "from 1 to 2: current value is NaN"],
    [{ value: 2 ** 53, min: 1 }, `at least 1: current value is ${2 ** 53}`],
  ] as const;
  for (const [bounds, text] of cases) {
    const error = assertThrows(
      () => checkInteger("match heads", "matchTokens", bounds),
      RequirementError,
    );
    assertEquals(error.message, `Cannot match heads: matchTokens must be an integer ${text}`);
  }
});

Deno.test("checkInteger blames empty or missing bounds instead of the value", () => {
  for (const max of [-3, NaN]) {
    assertEquals(
      assertThrows(
        () => checkInteger("run turns", "turnBlock", { value: 1, min: 1, max }),
        RequirementError,
      ).message,
      `Cannot run turns: what limits turnBlock must leave a value for it: current limits are 1 and ${max}`,
    );
  }
});

Deno.test("checkLength throws with both lengths when they differ", () => {
  checkLength("compare", "values", { required: 3, current: 3 });
  const error = assertThrows(
    () => checkLength("compare", "values", { required: 3, current: 4 }),
    RequirementError,
  );
  assertEquals(
    error.message,
    "Cannot compare: values must have length 3: current length is 4",
  );
});

Deno.test("errors of the house have one base, which no error of the language has", () => {
  const requirement = { action: "open", requirement: "it must exist" };
  const made = [new GpuError(""), new DataError(""), new UsageError("")];
  for (const error of [...made, new RequirementError(requirement)]) {
    assert(error instanceof LabError, error.name);
  }
  assert(!(new TypeError("") instanceof LabError));
});

Deno.test("errors carry their name and cause", () => {
  const cause = new Error("driver");
  for (const [name, ErrorType] of Object.entries({ GpuError, DataError, UsageError })) {
    const error = new ErrorType("Cannot", { cause });
    assert(error instanceof Error);
    assertEquals([error.name, error.message, error.cause], [name, "Cannot", cause]);
  }
});
