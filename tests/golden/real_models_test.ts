import { assert, assertEquals } from "@std/assert";
import { traceAttention } from "../../decoding/session/trace.ts";
import type { Device } from "../../gpu/device.ts";
import { loadModel } from "../../models/load.ts";
import { type Agreement, compareLogits } from "../support/agreement.ts";
import { largestDifference, largestHeadError, readGolden } from "../support/golden.ts";
import { openDevice } from "../../gpu/open_device.ts";
import { gpuBackend, hasGpu, testDevice } from "../support/gpu.ts";
import { realModel } from "../support/real_models.ts";

/** Real GGUF models against what transformers computed from the same files in float32. */

const FILES: Readonly<Record<string, string>> = {
  "smollm2-135m": "SmolLM2-135M-Instruct.Q4_1.gguf",
  "qwen2.5-coder-0.5b": "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
  "qwen2.5-coder-1.5b": "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
};
const PROMPTS = ["prose", "code", "digits", "mixed"];

/** What rounded activations do to results at most, and at least. */
const BYTES = {
  bits: 8,
  most: { divergence: 3e-3, mapError: 0.04, sumError: 0.07 },
  least: { divergence: 1e-4, sumError: 1e-2 },
} as const;
const ROUNDED = [
  { backend: "cpu", ...BYTES, same: 0.985 },
  { backend: gpuBackend, ...BYTES, same: 0.98 },
  {
    backend: gpuBackend,
    bits: 16,
    same: 0.99,
    most: { divergence: 1e-4, mapError: 0.01, sumError: 0.01 },
    least: { divergence: 1e-5, sumError: 1e-3 },
  },
] as const;

/** Model that software GPUs read all prompts with; they take minutes for larger ones and for rounded activations. */
const SMALL_ENOUGH = "smollm2-135m";

const features = hasGpu ? (await testDevice()).info.features! : [];

/** Whether the adapter multiplies what is rounded. */
function canRound(bits: number): boolean {
  return hasGpu && (bits === 8 || features.includes("shader-f16"));
}

for (const [name, file] of Object.entries(FILES)) {
  const path = realModel(file);
  for (const backend of [gpuBackend, "cpu"] as const) {
    Deno.test({
      name: `traceAttention() of ${file} agrees with transformers on ${backend}`,
      ignore: path === undefined || backend === gpuBackend && !hasGpu,
      fn: async () => {
        const found = await compareModel(name, path!, await testDevice(backend));
        const figures = JSON.stringify(found);
        assert(found.same >= 0.99 * found.compared && found.divergence <= 2e-3, figures);
        assert(found.mapError <= 2e-3 && found.sumError <= 1e-3, figures);
      },
    });
  }
  for (const { backend, bits, same, most, least } of ROUNDED) {
    Deno.test({
      name:
        `traceAttention() of ${file} is as close to transformers with ${bits}-bit activations on ${backend} as the docs say`,
      ignore: path === undefined ||
        backend !== "cpu" && (name !== SMALL_ENOUGH || !canRound(bits)),
      async fn() {
        using device = await openDevice({
          backend,
          ...(backend === "cpu" && { threads: 0 }),
          activationBits: bits,
        });
        const found = await compareModel(name, path!, device);
        const figures = JSON.stringify(found);
        assert(found.same >= same * found.compared, figures);
        assert(found.divergence <= most.divergence && found.mapError <= most.mapError, figures);
        assert(found.sumError <= most.sumError, figures);
        // Otherwise more bits were used.
        assert(found.divergence > least.divergence && found.sumError > least.sumError, figures);
      },
    });
  }
}

/** How a model differs from transformers. */
interface Differences extends Pick<Agreement, "compared" | "same"> {
  readonly divergence: number;
  readonly mapError: number;
  readonly sumError: number;
}

async function compareModel(name: string, path: string, device: Device): Promise<Differences> {
  const golden = await readGolden(`real/${name}`);
  const { backend, isSoftware, activationBits } = device.info;
  const isSlow = backend !== "cpu" && isSoftware &&
    (name !== SMALL_ENOUGH || activationBits !== undefined);
  const prompts = isSlow ? ["code"] : PROMPTS;
  using model = await loadModel(path, { device });
  const agreement: Agreement = { divergences: [], compared: 0, same: 0 };
  let mapError = 0;
  let sumError = 0;
  for (const promptName of prompts) {
    const prompt = (tensor: string) => golden(`${promptName}.${tensor}`);
    const flat = [...prompt("heads").values];
    const heads = flat.flatMap((layer, index): [number, number][] =>
      index % 2 === 0 ? [[layer, flat[index + 1]!]] : []
    );
    const trace = await traceAttention(model, [...prompt("tokens").values], {
      heads,
      accumulated: true,
      logits: "all",
    });
    compareLogits(trace.logits, prompt, agreement);
    const maps = Float32Array.from(trace.maps.flatMap(({ values }) => [...values]));
    mapError = Math.max(mapError, largestDifference(maps, prompt("maps").values));
    const sums = prompt("accumulated").values;
    const tokens = prompt("tokens").values.length;
    sumError = Math.max(sumError, largestHeadError(trace.accumulated, sums, tokens));
  }
  const { divergences, compared, same } = agreement;
  const divergence = divergences.reduce((sum, one) => sum + one, 0) / divergences.length;
  assertEquals(divergences.length, 64 * prompts.length);
  return { divergence, compared, same, mapError, sumError };
}
