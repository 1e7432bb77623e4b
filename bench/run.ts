/**
 * Runs a benchmark; the last line that it prints is JSON.
 *
 *     deno task bench [KIND] [OPTION...]
 *
 * @module
 */

import { UsageError } from "../core/check.ts";
import { printableText } from "../core/printable.ts";
import { benchAttention } from "./attention_bench.ts";
import { benchHeads } from "./head_match_bench.ts";
import { benchMatmul } from "./matmul_bench.ts";
import { benchPolicyBatch, benchPolicyStep, benchSpeculation } from "./policy_bench.ts";
import { benchSpeed } from "./speed_bench.ts";

const KINDS: Readonly<Record<string, (args: string[]) => void | Promise<void>>> = {
  speed: benchSpeed,
  policy: benchPolicyStep,
  speculative: benchSpeculation,
  batch: benchPolicyBatch,
  attention: benchAttention,
  matmul: benchMatmul,
  heads: benchHeads,
};

const USAGE = `Usage: deno task bench [KIND] [OPTION...]

  speed        this engine and llama.cpp: --model FILE --prompt COUNT --tokens COUNT
               --repetitions COUNT --peers vulkan,cpu|none (taken if no KIND is given)
  policy       parts of a decode step under smallkv: --large FILE --small FILE
               --tokens COUNT,... --budget SHARE --samples COUNT
  speculative  drafts of the small model against none: --large FILE --small FILE
               --drafts COUNT,... --tokens COUNT --budget SHARE --prompts COUNT
  batch        many settings one after the other, and as one batch: --large FILE --small FILE
               --tokens COUNT --steps COUNT --samples COUNT
  attention    kernels of attention by shape: --samples COUNT
  matmul       matrix products by format and shape: --formats q4,... --models 0.5B,1.5B --rows 1,128
  heads        matching of heads on the host

FILE is a path, embedded, or 0.5b or 1.5b for a file of the folder that SMALLKV_MODELS names.`;

if (import.meta.main) {
  const [first = "", ...rest] = Deno.args;
  const kind = KINDS[first];
  try {
    if (Deno.args.includes("--help")) console.log(USAGE);
    else if (kind !== undefined) await kind(rest);
    else await benchSpeed(Deno.args);
  } catch (error) {
    const isUsage = error instanceof UsageError || error instanceof TypeError;
    console.error(printableText((error as Error).message));
    if (isUsage) console.error(USAGE);
    Deno.exit(isUsage ? 2 : 1);
  }
}
