/**
 * Tests of `kernels/plan_by_saliency.*`, and of the choice between it and `wide_plan`.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import type { Dispatch } from "../../gpu/device.ts";
import { planBySaliencyCommand, planBySaliencyKernel } from "../../kernels/plan_by_saliency.ts";
import { SHAPES } from "../../kernels/shapes.ts";
import { BASE, planTests } from "./plan_cases.ts";

planTests(planBySaliencyKernel, {});

const NO_BUFFERS = {} as Parameters<typeof planBySaliencyCommand>[1];
const SHAPE = { ...BASE, sequences: 1, groups: 48, capacity: 100, listWords: 13 };

Deno.test("planBySaliencyCommand() takes the kernel of the adapter's kind", () => {
  const kernels = SHAPES.map(({ kind }) => {
    const info = { isSoftware: true, subgroupSize: 8, shapes: { kind } };
    return [kind, (planBySaliencyCommand(info, NO_BUFFERS, SHAPE) as Dispatch).kernel.name];
  });
  assertEquals(Object.fromEntries(kernels), {
    software8: "plan_by_saliency",
    software: "plan_by_saliency",
    wide: "wide_plan",
  });
});

Deno.test("planBySaliencyCommand() refuses lists without room", () => {
  const info = { isSoftware: true, subgroupSize: 8 };
  assertThrows(
    () => planBySaliencyCommand(info, NO_BUFFERS, { ...SHAPE, listWords: 12 }),
    RequirementError,
    "listWords must be an integer at least 13: current value is 12",
  );
});
