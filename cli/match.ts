/**
 * `match`: finds the most similar head of a small model for every head of a large one.
 *
 * @module
 */

import { matchHeads } from "../analysis/head_match.ts";
import { MATCH_CHOICES } from "../cache/options.ts";
import { writeFileAtomic } from "../core/atomic_file.ts";
import { DataError, RequirementError } from "../core/check.ts";
import { Progress } from "../core/progress.ts";
import { terminalView } from "../core/terminal_view.ts";
import { apiNamesOf, choiceFlags, readMatching } from "./choice_flags.ts";
import { type Command, type CommandCall, type CommandIo, valueOption } from "./command.ts";
import { EXIT } from "./command_line.ts";
import type { ExperimentModel } from "../experiments/experiment.ts";
import type { OpenEngine } from "../experiments/runner/engine.ts";
import { DEVICE_OPTIONS, MODEL_NOTE, openEngineFor, PAIR_OPTIONS } from "./open.ts";
import { checkInput, INPUT_OPTIONS, readTokens } from "./token_input.ts";

/** The first tokens are compared, whatever follows. */
const { side: _, ...COMPARED } = MATCH_CHOICES;
const LEAST_TOKENS = COMPARED.window.range.min;

/**
 * Makes the `match` command.
 *
 * @param parts `openEngine` opens models.
 */
export function matchCommand(parts: { readonly openEngine: OpenEngine }): Command {
  return {
    name: "match",
    summary: "Finds the most similar head of a small model for every head of a large one",
    options: {
      ...PAIR_OPTIONS,
      ...INPUT_OPTIONS,
      ...choiceFlags(COMPARED),
      out: valueOption("FILE.json", "JSON file to write"),
      ...DEVICE_OPTIONS,
    },
    apiNames: { ...apiNamesOf(COMPARED), topTokens: "top", topShare: "top" },
    notes: [
      MODEL_NOTE,
      `The text must have at least ${LEAST_TOKENS} tokens; its first --window tokens are used. The file holds`,
      "window, topTokens and, for each large head (layer * queryHeads + head), match (the small head),",
      "similarity (Jaccard) and cosine.",
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
  const { window = COMPARED.window.usual } = options;
  if (call.has("large") !== call.has("small")) {
    call.fail("--large and --small must be given together: current value is only one of them");
  }
  using progress = new Progress("Match", terminalView({ ...io, write: io.error }));
  await using engine = await openEngineFor(openEngine, call, { io, progress });
  const large = await engine.openModel("large", call.value("large"));
  const small = await engine.openModel("small", call.value("small"));
  checkTokenizers(large, small);
  const compared = await readTokens(call, [large, small], window);
  if (compared.length < LEAST_TOKENS) {
    throw new RequirementError({
      action: "match heads",
      requirement: `the text must have at least ${LEAST_TOKENS} tokens`,
      state: `count is ${compared.length}`,
    });
  }
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
