/**
 * The benchmark for a GPU at a scale of 1/100, and what it counts at full scale.
 *
 * @module
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { fileURLToPath } from "node:url";
import { configOf, rowOf, type Run, scenariosAt, weightsOf } from "../../bench/gpu_bench.ts";
import { randomModel } from "../../bench/random_model.ts";
import { Session } from "../../decoding/session/session.ts";
import { openDevice } from "../../gpu/open_device.ts";
import { f16 } from "../../kernels/weights/f16.ts";
import { WEIGHT_FORMATS } from "../../kernels/weights/mod.ts";
import { hasGpu } from "../support/gpu.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const SCALE = 0.01;

/** Runs the benchmark through its task. */
async function bench(...words: string[]) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["task", "--quiet", "bench", "gpu", ...words],
    cwd: root,
    env: { NO_COLOR: "1", SMALLKV_INSTALL: "0", DENO_WEBGPU_BACKEND: "vulkan" },
  }).output();
  const lines = new TextDecoder().decode(stdout).trim().split("\n");
  return { code, errors: new TextDecoder().decode(stderr), json: () => JSON.parse(lines.at(-1)!) };
}

for (const backend of ["cpu", "webgpu"]) {
  Deno.test({
    name: `bench gpu measures every scenario at a scale of 1/100 on ${backend}`,
    ignore: backend === "webgpu" && !hasGpu,
    async fn() {
      const { code, errors, json } = await bench("--scale", `${SCALE}`, "--device", backend);
      assertEquals(code, 0, errors);
      const { results, rates, ahead } = json();
      assertEquals(ahead, backend === "cpu" ? 1 : 16);
      assertEquals(results.length, 8);
      assert(rates.copyGigabytes > 0 && rates.floatGflops > 0);
      for (const row of results) {
        assertEquals(row.reason, undefined);
        assert(row.ttftMs > 0 && row.tpotMs > 0 && row.steps === 5, JSON.stringify(row));
        // The policies that need a read at each step are those that rank on the host.
        const isFew = backend === "webgpu" && row.policy !== "h2o";
        if (isFew) assert(row.readsPerStep <= 1 / 5, row.policy);
      }
      assertMatch(errors, /8 of 8: smallkv_query_aware, at most \d+ s/);
    },
  });
}

Deno.test("bench gpu says which scenarios do not end in time", async () => {
  const { code, json } = await bench("--scale", "0.01", "--device", "cpu", "--minutes", "0.0001");
  assertEquals(code, 0);
  for (const { reason } of json().results) assertMatch(reason, /^prompt did not end in 0 s$/);
  assertEquals((await bench("--minutes", "0")).code, 2);
  assertEquals((await bench("--format", "q9")).code, 2);
});

Deno.test("rowOf() says which scenarios do not fit", async () => {
  const sizes = { large: configOf("large", SCALE), small: configOf("small", SCALE) };
  using device = await openDevice({ backend: "cpu", threads: 0, maxBytes: 80 * 2 ** 20 });
  using large = await randomModel(device, sizes.large, { name: "large", format: f16 });
  using small = await randomModel(device, sizes.small, { name: "small", format: f16 });
  const scenario = { batch: 64, promptTokens: 2048, newTokens: 256 };
  const run: Run = { pair: { large, small }, scenario, policy: "full", limitMs: 1e5, ahead: 1 };
  const { measured, reason } = await rowOf(run);
  assertEquals(measured, undefined);
  assertMatch(reason!, /^Cannot allocate .* must have \d+ bytes free/);
});

Deno.test("scenarios and models are those of Table 2 at full scale", () => {
  const large = weightsOf(configOf("large", 1));
  const small = weightsOf(configOf("small", 1));
  // 7.07 G weights of 2 bytes are read by a step, and 0.358 G of the small model.
  assertEquals([large.layers, large.head], [6_525_288_448, 544_997_376]);
  assertEquals(small.layers, 357_826_560);
  assertEquals(scenariosAt(1), [
    { batch: 64, promptTokens: 2048, newTokens: 256 },
    { batch: 4, promptTokens: 16_384, newTokens: 512 },
  ]);
});

Deno.test("randomModel() computes finite logits in every format, and takes the bytes that it says", async () => {
  using device = await openDevice({ backend: "cpu", threads: 0 });
  const config = configOf("large", SCALE);
  for (const format of WEIGHT_FORMATS) {
    if (config.hidden % 256 !== 0 && format.planes.superScales) continue;
    const { liveBytes } = device.usage;
    using model = await randomModel(device, config, { name: "random", format });
    assertEquals(model.weights.byteLength, device.usage.liveBytes - liveBytes, format.name);
    using session = new Session(model, { capacity: 20 });
    const rows: Float32Array[] = [];
    await session.prefill([1, 2, 3], { onLogits: (logits) => rows.push(logits) });
    assert(new Set(rows[0]).size > 100, `${format.name} has different logits`);
  }
});
