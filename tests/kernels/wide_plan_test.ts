/**
 * Tests of `kernels/wide_plan.*`.
 *
 * @module
 */

import { widePlan } from "../../kernels/wide_plan.ts";
import { planTests } from "./plan_cases.ts";

planTests(widePlan, {});
// Several bins of a lane, and counts that all lanes share.
planTests(widePlan, { WORKGROUP_SIZE: 32, COPIES: 1 });
