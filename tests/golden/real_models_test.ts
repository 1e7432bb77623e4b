import { assert, assertEquals } from "@std/assert";
import { traceAttention } from "../../decoding/session/trace.ts";
import type { Backend } from "../../gpu/device.ts";
import { loadModel } from "../../models/load.ts";
import { type Golden, largestDifference, largestHeadError, readGolden } from "../support/golden.ts";
import { hasGpu, testDevice } from "../support/gpu.ts";
import { realModel } from "../support/real_models.ts";

/** Real GGUF models against what transformers computed from the same files in float32. */

const FILES: Readonly<Record<string, string>> = {
  "smollm2-135m": "SmolLM2-135M-Instruct.Q4_1.gguf",
  "qwen2.5-coder-0.5b": "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
  "qwen2.5-coder-1.5b": "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
};
const PROMPTS = ["prose", "code", "digits", "mixed"];

/** How our next-token distributions differ from the stored ones. */
interface Agreement {
  /** Divergence of ours from the reference at each position, in nats. */
  readonly divergences: number[];
  /** Positions where the reference is sure enough to compare. */
  compared: number;
  /** Those of them with the same most probable token. */
  same: number;
}

/** Compares one row of logits with a stored distribution; what is not stored is one bucket. */
function compareRow(
  logits: Float32Array,
  ids: Int32Array,
  logProbabilities: Float32Array,
  agreement: Agreement,
): void {
  const most = logits.reduce((left, right) => Math.max(left, right));
  const total = logits.reduce((sum, logit) => sum + Math.exp(logit - most), 0);
  let restOurs = 1;
  let restTheirs = 1;
  let divergence = 0;
  ids.forEach((id, rank) => {
    const ours = logits[id]! - most - Math.log(total);
    const theirs = logProbabilities[rank]!;
    divergence += Math.exp(theirs) * (theirs - ours);
    restOurs -= Math.exp(ours);
    restTheirs -= Math.exp(theirs);
  });
  if (restTheirs > 1e-6) divergence += restTheirs * Math.log(restTheirs / Math.max(restOurs, 1e-9));
  agreement.divergences.push(divergence);
  if (logProbabilities[0]! - logProbabilities[1]! <= 0.1) return;
  agreement.compared++;
  if (logits[ids[0]!] === most) agreement.same++;
}

function compareLogits(
  logits: Float32Array,
  prompt: (name: string) => ReturnType<Golden>,
  agreement: Agreement,
): void {
  const counts = prompt("counts").values;
  const vocabulary = logits.length / counts.length;
  let start = 0;
  counts.forEach((count, row) => {
    const ids = prompt("ids").values.subarray(start, start + count) as Int32Array;
    const stored = prompt("logprobs").values.subarray(start, start + count) as Float32Array;
    const ours = logits.subarray(row * vocabulary, (row + 1) * vocabulary);
    compareRow(ours, ids, stored, agreement);
    start += count;
  });
}

for (const [name, file] of Object.entries(FILES)) {
  const path = realModel(file);
  for (const backend of ["webgpu", "cpu"] as const) {
    Deno.test({
      name: `traceAttention() of ${file} agrees with transformers on ${backend}`,
      ignore: path === undefined || backend === "webgpu" && !hasGpu,
      fn: () => compareModel(name, path!, backend),
    });
  }
}

async function compareModel(name: string, path: string, backend: Backend): Promise<void> {
  const golden = await readGolden(`real/${name}`);
  using model = await loadModel(path, { device: await testDevice(backend) });
  const agreement: Agreement = { divergences: [], compared: 0, same: 0 };
  let mapError = 0;
  let sumError = 0;
  for (const promptName of PROMPTS) {
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
  const figures = `KL ${divergence}, top-1 ${same}/${compared}, maps ${mapError}, ` +
    `column sums ${sumError}`;
  assertEquals(divergences.length, 64 * PROMPTS.length);
  assert(same >= 0.99 * compared && divergence <= 2e-3, figures);
  assert(mapError <= 2e-3 && sumError <= 1e-3, figures);
}
