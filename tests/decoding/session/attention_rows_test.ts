import { assert, assertEquals, assertRejects } from "@std/assert";
import { RequirementError } from "../../../core/check.ts";
import { attentionRows, traceAttention } from "../../../decoding/session/trace.ts";
import { embeddedModel, someTokens } from "../../support/embedded_model.ts";
import { gpuBackend, hasGpu } from "../../support/gpu.ts";

Deno.test("attentionRows() are the last rows of whole maps", async () => {
  const small = await embeddedModel("small", hasGpu ? gpuBackend : "reference");
  const tokens = someTokens(50);
  const rows = await attentionRows(small, tokens, { first: 41 });
  const { maps } = await traceAttention(small, tokens, { heads: "all", accumulated: false });
  assertEquals(rows.length, maps.length * 9 * 50);
  maps.forEach(({ values }, head) => {
    const own = rows.subarray(head * 9 * 50, (head + 1) * 9 * 50);
    values.subarray(41 * 50).forEach((value, index) =>
      assert(Math.abs(value - own[index]!) < 1e-5)
    );
  });
  await assertRejects(() => attentionRows(small, tokens, { first: 50 }), Error, "first row");
});

Deno.test("attentionRows() refuses more than it may return", async () => {
  const model = await embeddedModel("small", "reference");
  const rows = () => attentionRows(model, someTokens(20), { first: 4, maxBytes: 1000 });
  await assertRejects(rows, RequirementError, "must take at most 1000 bytes: current value is");
});
