import { assert, assertEquals } from "@std/assert";
import { traceAttention } from "../../decoding/session/trace.ts";
import { loadModel } from "../../models/load.ts";
import {
  fixture,
  largest,
  largestDifference,
  largestHeadError,
  readGolden,
} from "../support/golden.ts";
import { testBackends, testDevice } from "../support/gpu.ts";

/** Tiny random models against what transformers computed from the same files in float32. */

/** Bar for the logits, relative to the largest one, by how the file stores weights. */
const EXACT = 1e-3;
const HALF = 1e-2;

const cases: { path: string; golden: string; logitBar: number }[] = [
  ...["qwen2_tied_bf16", "qwen2_untied_f32", "qwen3_sharded_bf16", "mistral_sharded_f32"]
    .map((name) => ({ name, logitBar: EXACT })),
  ...[
    "smollm2_tied_bf16",
    "gemma3_bf16",
    "gemma2_f32",
    "mistral_window_bf16",
    "qwen3_window_bf16",
    "olmo2_bf16",
    "granite_f32",
    "qwen2_yarn_bf16",
    "llama_dynamic_bf16",
    "llama_longrope_bf16",
    "gemma3_ropes_bf16",
    "granite4_bf16",
    "gemma3_images_bf16",
    "ministral3_bf16",
    "ministral3_images_bf16",
  ]
    .map((name) => ({ name, logitBar: EXACT })),
  { name: "llama3_rope_f16", logitBar: HALF },
].map(({ name, logitBar }) => ({
  path: `tiny/${name}`,
  golden: `tiny/${name}/golden`,
  logitBar,
}));
for (
  const name of [
    "qwen2_mixed",
    "qwen2_k_quants",
    "qwen2_few_bits",
    "llama_f16",
    "llama_q4_1",
    "mistral3_f16",
  ]
) {
  cases.push({ path: `tiny_gguf/${name}.gguf`, golden: `tiny_gguf/${name}`, logitBar: HALF });
}

for (const { path, golden, logitBar } of cases) {
  for (const backend of testBackends) {
    Deno.test(`traceAttention() of ${path} on ${backend} agrees with transformers`, async () => {
      const expected = await readGolden(golden);
      const device = await testDevice(backend);
      using model = await loadModel(fixture(path), { device });
      const trace = await traceAttention(model, [...expected("tokens").values], {
        heads: "all",
        accumulated: true,
        logits: "all",
      });
      const logits = expected("logits");
      const [heads, tokens] = expected("accumulated").shape;
      assertEquals(trace.logits.length, logits.values.length);
      assertEquals(trace.maps.length, heads);
      const logitError = largestDifference(trace.logits, logits.values) / largest(logits.values);
      const maps = Float32Array.from(trace.maps.flatMap(({ values }) => [...values]));
      const mapError = largestDifference(maps, expected("attention").values);
      const sums = expected("accumulated").values;
      const sumError = largestHeadError(trace.accumulated, sums, tokens!);
      const errors = `logits ${logitError}, maps ${mapError}, sums ${sumError}`;
      assert(logitError <= logitBar && mapError <= 2e-3 && sumError <= 1e-3, errors);
      const columns = new Float32Array(heads! * tokens!);
      maps.forEach((value, index) => {
        columns[Math.floor(index / tokens! ** 2) * tokens! + index % tokens!]! += value;
      });
      assert(
        largestDifference(trace.accumulated, columns) <= 1e-3,
        "two passes against eager maps",
      );
    });
  }
}
