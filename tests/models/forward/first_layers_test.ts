/**
 * Tests of `models/forward/first_layers.ts`.
 *
 * @module
 */

import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../../core/check.ts";
import { Session } from "../../../decoding/session/session.ts";
import { firstLayers } from "../../../models/forward/first_layers.ts";
import type { Model } from "../../../models/load.ts";
import { embeddedModel, someTokens } from "../../support/embedded_model.ts";
import { gpuBackend, hasGpu } from "../../support/gpu.ts";
import { observed, partsOf } from "../../support/observed_model.ts";

const BACKEND = hasGpu ? gpuBackend : "reference";

Deno.test("firstLayers() attends as the whole model does, and runs nothing after its last layer", async () => {
  const whole = await embeddedModel("small", BACKEND);
  const { queryHeads } = whole.config;
  const tokens = someTokens(70);
  const sums = async (model: Model) => {
    using session = new Session(model, { capacity: 80, accumulate: true });
    await session.prefill(tokens, { logits: "none" });
    return { sums: await session.accumulated(), bytes: session.cacheBytes };
  };
  const all = await sums(whole);
  for (let layers = 1; layers < whole.config.layers; layers++) {
    const { model, commands } = observed(firstLayers(whole, layers));
    const first = await sums(model);
    assertEquals(first.sums, all.sums.slice(0, layers * queryHeads * tokens.length));
    assertEquals(first.bytes, all.bytes * layers / whole.config.layers);
    const later = new Set(partsOf(whole.weights.layers.slice(layers)));
    const used = commands.flatMap((command) =>
      "kernel" in command ? Object.values(command.buffers) : []
    );
    assert(used.some((buffer) => [...partsOf(whole.weights.layers[0])].includes(buffer)));
    for (const buffer of used) assert(!later.has("buffer" in buffer ? buffer.buffer : buffer));
  }
});

Deno.test("firstLayers() of all layers is the model, and its views free nothing", async () => {
  const model = await embeddedModel("small", BACKEND);
  const { layers } = model.config;
  assertStrictEquals(firstLayers(model, layers), model);
  const before = model.device.usage.liveBytes;
  const view = firstLayers(model, 1);
  view[Symbol.dispose]();
  view.weights[Symbol.dispose]();
  view.close();
  assertEquals(model.device.usage.liveBytes, before);
  assert(view.hash !== model.hash);
  assertEquals(firstLayers(firstLayers(model, 2), 1).config.modelLayers, layers);
});

Deno.test("firstLayers() refuses numbers of layers that the model does not have", async () => {
  const model = await embeddedModel("small", BACKEND);
  for (const layers of [0, -1, 1.5, model.config.layers + 1]) {
    assertThrows(
      () => firstLayers(model, layers),
      RequirementError,
      `layers that run must be an integer from 1 to 3: current value is ${layers}`,
    );
  }
});
