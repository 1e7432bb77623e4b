/**
 * `match`: for every head of a large model the most similar head of a small one.
 *
 * @module
 */

import { matchHeads, type MatchOptions } from "../analysis/head_match.ts";
import { NORMALISATIONS } from "../analysis/row_means.ts";
import { writeFileAtomic } from "../core/atomic_file.ts";
import { DataError } from "../core/check.ts";
import { Progress } from "../core/progress.ts";
import { terminalView } from "../core/terminal_view.ts";
import type { Command, CommandCall, CommandIo } from "./command.ts";
import { EXIT } from "./command_line.ts";
import type { ExperimentModel } from "../experiments/experiment.ts";
import type { OpenEngine } from "../experiments/runner/engine.ts";
import { DEVICE_OPTION, openEngineFor } from "./open.ts";
import { checkInput, INPUT_OPTIONS, readTokens } from "./token_input.ts";

const LEAST_TOKENS = 100;

/**
 * Makes the `match` command.
 *
 * @param parts `openEngine` opens models.
 * @returns The command.
 */
export function matchCommand(parts: { readonly openEngine: OpenEngine }): Command {
  return {
    name: "match",
    summary: "Finds for every head of a large model the most similar head of a small one",
    options: {
      large: {
        type: "string",
        placeholder: "MODEL",
        text: "large model; the embedded one if left out",
      },
      small: {
        type: "string",
        placeholder: "MODEL",
        text: "small model; the embedded one if left out",
      },
      ...INPUT_OPTIONS,
      window: { type: "string", placeholder: "N", default: "200", text: "leading tokens compared" },
      top: { type: "string", placeholder: "SHARE", default: "0.2", text: "share that is salient" },
      ignore: {
        type: "string",
        placeholder: "N",
        default: "0",
        text: "first tokens left out (D-8)",
      },
      by: { type: "string", choices: ["jaccard", "cosine"], text: "what is maximized, jaccard" },
      ties: { type: "string", choices: ["cosine", "first"], text: "what settles ties (D-6)" },
      normalise: { type: "string", choices: NORMALISATIONS, text: "divisor of sums (D-1)" },
      out: { type: "string", placeholder: "FILE.json", text: "JSON file to write" },
      device: DEVICE_OPTION,
    },
    notes: [
      "MODEL is a .gguf or .safetensors file, a folder, or hf:ORG/NAME.",
      `The text must have at least ${LEAST_TOKENS} tokens. The file holds window, topTokens and, per large`,
      "head (layer * queryHeads + head): match (the small head), similarity (Jaccard), cosine.",
    ],
    examples: [
      "deno task match --text prompt.txt --out match.json",
      "deno task match --large l.gguf --small s.gguf --tokens ids.json --out match.json",
    ],
    run: (call, io) => match(parts.openEngine, call, io),
  };
}

async function match(openEngine: OpenEngine, call: CommandCall, io: CommandIo): Promise<number> {
  checkInput(call);
  const out = call.required("out");
  const options = readMatching(call);
  if (call.has("large") !== call.has("small")) {
    call.fail("--large and --small must be given together: current value is only one of them");
  }
  using progress = new Progress("Match", terminalView({ ...io, write: io.error }));
  await using engine = await openEngineFor(openEngine, call, { progress });
  const large = await engine.openModel("large", call.value("large"));
  const small = await engine.openModel("small", call.value("small"));
  checkTokenizers(large, small);
  const tokens = await readTokens(call, [large, small]);
  if (tokens.length < LEAST_TOKENS) {
    throw new RangeError(
      `Cannot match heads: the text must have at least ${LEAST_TOKENS} tokens: current count is ${tokens.length}`,
    );
  }
  const compared = tokens.slice(0, options.window);
  progress.describe("large model");
  const rows = await saliencyOf(large, compared, io);
  progress.describe("small model");
  const found = matchHeads(rows, await saliencyOf(small, compared, io), options);
  const content = {
    window: found.window,
    topTokens: found.topTokens,
    match: [...found.match],
    similarity: [...found.similarity],
    cosine: [...found.cosine],
  };
  await writeFileAtomic(out, `${JSON.stringify(content)}\n`);
  progress.finish();
  const mean = found.cosine.reduce((sum, value) => sum + value, 0) / found.cosine.length;
  io.out(`${out}: ${found.match.length} heads, mean cosine ${mean.toFixed(4)}\n`);
  return EXIT.ok;
}

function readMatching(call: CommandCall): MatchOptions & { readonly window: number } {
  const window = call.number("window", { min: LEAST_TOKENS, max: 1 << 20, isInteger: true });
  const topShare = call.number("top", { min: 0, max: 1 });
  if (topShare === 0) call.fail("--top must be over 0 and at most 1: current value is 0");
  const ignoredTokens = call.number("ignore", { min: 0, max: 90, isInteger: true });
  const by = call.value("by") as MatchOptions["by"];
  const ties = call.value("ties") as MatchOptions["ties"];
  const normalise = call.value("normalise") as MatchOptions["normalise"];
  return {
    window,
    topShare,
    ignoredTokens,
    ...(by && { by }),
    ...(ties && { ties }),
    ...(normalise && { normalise }),
  };
}

function checkTokenizers(large: ExperimentModel, small: ExperimentModel): void {
  const hashes = [large.tokenizerHash, small.tokenizerHash];
  if (hashes.includes(undefined) || hashes[0] === hashes[1]) return;
  throw new DataError(
    `Cannot match heads: both models must have one tokenizer: current models are ${large.name} and ${small.name}`,
  );
}

async function saliencyOf(model: ExperimentModel, tokens: readonly number[], io: CommandIo) {
  const { layers, queryHeads } = model;
  const { accumulated } = await model.trace(tokens, { accumulated: true, signal: io.signal });
  return { layers, queryHeads, tokens: tokens.length, accumulated };
}
