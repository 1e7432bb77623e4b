/**
 * Runs a benchmark; the last line that it prints is JSON.
 *
 *     deno task bench [KIND] [OPTION...]
 *
 * @module
 */

import { LabError, UsageError } from "../core/check.ts";
import { printableText } from "../core/printable.ts";
import { benchAnswers } from "./answers_bench.ts";
import { benchAttention } from "./attention_bench.ts";
import { benchCeiling } from "./ceiling.ts";
import { benchExplorer } from "./explorer_bench.ts";
import { benchFirst, benchStart } from "./first_bench.ts";
import { benchGpu } from "./gpu_bench.ts";
import { benchHeads } from "./head_match_bench.ts";
import { benchMatmul } from "./matmul_bench.ts";
import { benchMemory } from "./memory_bench.ts";
import { benchPolicyBatch, benchPolicyStep, benchSpeculation } from "./policy_bench.ts";
import { benchRanking } from "./ranking_bench.ts";
import { benchSpeed } from "./speed_bench.ts";
import { benchStudy } from "./study_bench.ts";

const KINDS: Readonly<Record<string, (args: string[]) => void | Promise<void>>> = {
  speed: benchSpeed,
  gpu: benchGpu,
  ceiling: benchCeiling,
  first: benchFirst,
  start: benchStart,
  memory: benchMemory,
  policy: benchPolicyStep,
  speculative: benchSpeculation,
  batch: benchPolicyBatch,
  study: benchStudy,
  answers: benchAnswers,
  attention: benchAttention,
  ranking: benchRanking,
  matmul: benchMatmul,
  heads: benchHeads,
  explorer: benchExplorer,
};

const USAGE = `Usage: deno task bench [KIND] [OPTION...]

  speed        this engine and llama.cpp, with their shares of what the machine can do: --model FILE
               --prompt COUNT --tokens COUNT --repetitions COUNT --repeat prompt,decode --sums yes|no
               --peers cpu,vulkan|none (taken if no KIND is given)
  gpu          Table 2 of the paper on random weights of Qwen2-7B and 0.5B, made on the device, with their
               shares of what the adapter can do: --scale SHARE --format f16|q4|... --policies NAME,...
               --minutes COUNT --ahead COUNT
  ceiling      arithmetic and reading of memory that the machine can do at most: --threads COUNT,...
  first        time to the first token under policies: --large FILE --small FILE --tokens COUNT,...
               --policies NAME,... --budget SHARE --samples COUNT
  start        a fresh clone to the first token of the embedded pair: --samples COUNT
  memory       resident bytes with a model and a prompt: --model FILE --prompt COUNT
  policy       parts of a decode step under smallkv: --large FILE --small FILE
               --tokens COUNT,... --budget SHARE --samples COUNT
  speculative  drafts of the small model against none: --large FILE --small FILE
               --drafts COUNT,... --tokens COUNT --budget SHARE --prompts COUNT --rest none|mean,...
  batch        16 settings in one batch against one setting: --large FILE --small FILE
               --tokens COUNT --steps COUNT --samples COUNT
  answers      problems of GSM8K under 16 settings as one batch, and alone, in processor time:
               --large FILE --small FILE --data FOLDER --items COUNT --tokens COUNT --slots COUNT
               --alone POLICY,...
  study        prompts under 16 settings, here and with transformers: --large FILE --small FILE
               --data FOLDER --prompts COUNT --steps COUNT --python PATH
  attention    kernels of attention by shape: --samples COUNT
  ranking      attention of key_sketch and quest against the full cache, one layer: --models 1.5B,...
               --tokens COUNT,... --budget SHARE --bits 1|2|4 --samples COUNT
  matmul       matrix products by format and shape: --formats q4,... --models 0.5B,1.5B --rows 1,128
  heads        matching of heads on the host
  explorer     the explorer in Chromium, in one thread of the CPU device: a first visit, steps side by side, and the
               longest task of its page: --samples COUNT

FILE is a path, embedded, or 0.5b or 1.5b for a file of the folder that SMALLKV_MODELS names. All but
ceiling, start, heads and explorer take --device auto|cpu|webgpu|dawn|reference, --threads COUNT and
--activation-bits default|16|8, each several times or as a list, and run on each; --shapes KIND|tuned|FILE
chooses shapes of kernels on webgpu and dawn.`;

function kindOf(name: string): (args: string[]) => void | Promise<void> {
  if (Object.hasOwn(KINDS, name)) return KINDS[name]!;
  throw new UsageError(
    `Cannot run the benchmark: KIND must be one of ${
      Object.keys(KINDS).join(", ")
    }: current value is ${name}`,
  );
}

if (import.meta.main) {
  const [first = "", ...rest] = Deno.args;
  try {
    if (Deno.args.includes("--help")) console.log(USAGE);
    else if (first === "" || first.startsWith("-")) await benchSpeed(Deno.args);
    else await kindOf(first)(rest);
  } catch (error) {
    const isUsage = error instanceof UsageError;
    console.error(error instanceof LabError ? printableText(error.message) : error);
    if (isUsage) console.error("Add --help for the options.");
    Deno.exit(isUsage ? 2 : 1);
  }
}
