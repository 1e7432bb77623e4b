import { assertRejects, assertStrictEquals } from "@std/assert";
import { RealDrop } from "../../../decoding/session/real_drop.ts";
import { embeddedModel, someTokens } from "../../support/embedded_model.ts";
import { testBackends } from "../../support/gpu.ts";

for (const backend of testBackends) {
  Deno.test(`RealDrop frees its session where the first part is stopped on ${backend}`, async () => {
    const model = await embeddedModel("small", backend);
    const { liveBytes } = model.device.usage;
    const signal = AbortSignal.abort(new Error("enough"));
    const start = () => RealDrop.start(model, someTokens(40), { firstTokens: 20, signal });
    await assertRejects(start, Error, "enough");
    assertStrictEquals(model.device.usage.liveBytes, liveBytes);
  });
}
