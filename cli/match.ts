/**
 * `match`: finds the most similar head of a small model for every head of a large one.
 *
 * @module
 */

import { matchHeads } from "../analysis/head_match.ts";
import { fitMap } from "../analysis/fitted_map.ts";
import { mapSimilarity } from "../analysis/null_map.ts";
import { FIT_CHOICES, MATCH_CHOICES } from "../cache/options.ts";
import { createAtomicFile } from "../core/atomic_file.ts";
import { DataError, RequirementError } from "../core/check.ts";
import { Progress } from "../core/progress.ts";
import { terminalView } from "../core/terminal_view.ts";
import { mean } from "../core/stats.ts";
import { headChoice, type PairMatchOptions } from "../decoding/scoring/head_matching.ts";
import { captureRows, checkFit, type RowCapture } from "../decoding/scoring/map_fitting.ts";
import { apiNamesOf, choiceFlags, readChoices, readMatching, usageOf } from "./choice_flags.ts";
import { type Command, type CommandCall, type CommandIo, valueOption } from "./command.ts";
import { EXIT } from "./command_line.ts";
import type { ExperimentModel } from "../experiments/experiment.ts";
import type { OpenEngine } from "../experiments/runner/engine.ts";
import { DEVICE_OPTIONS, MODEL_NOTE, openEngineFor, PAIR_OPTIONS } from "./open.ts";
import { fittedMapJson } from "./fitted_map_file.ts";
import { checkOutput } from "./output_file.ts";
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
      ...choiceFlags(FIT_CHOICES),
      out: valueOption("FILE.json", "JSON file to write"),
      ...DEVICE_OPTIONS,
    },
    apiNames: {
      ...apiNamesOf(COMPARED),
      ...apiNamesOf(FIT_CHOICES),
      topTokens: "top",
      topShare: "top",
    },
    notes: [
      MODEL_NOTE,
      `The text must have at least ${LEAST_TOKENS} tokens; its first --window tokens are used. The file holds`,
      "window, topTokens and, for each large head (layer * queryHeads + head), match (the small head),",
      "similarity (Jaccard) and cosine. With --by fitted, a map is fitted on the last rows of the text, and the",
      "file holds fittedMap and, for each KV head of the large model, the cosine on those rows.",
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
  const options: PairMatchOptions = { ...readMatching(call), ...readChoices(call, FIT_CHOICES) };
  usageOf(call, () => checkFit(options, []));
  const { window = COMPARED.window.usual } = options;
  if (call.has("large") !== call.has("small")) {
    call.fail("--large and --small must be given together: current value is only one of them");
  }
  await checkOutput(call, ["text", "tokens", "large", "small"]);
  // What cannot be written is refused before anything runs.
  await using file = await createAtomicFile(out);
  using progress = new Progress("Match", terminalView({ ...io, write: io.error }));
  await using engine = await openEngineFor(openEngine, call, { io, progress });
  const large = await engine.openModel("large", call.value("large"));
  const small = await engine.openModel("small", call.value("small"));
  checkTokenizers(large, small);
  const isFitted = options.by === "fitted";
  const compared = await readTokens(call, [large, small], isFitted ? undefined : window);
  if (compared.length < LEAST_TOKENS) {
    throw new RequirementError({
      action: "match heads",
      requirement: `the text must have at least ${LEAST_TOKENS} tokens`,
      state: `count is ${compared.length}`,
    });
  }
  const request = { large, small, tokens: compared, io, progress };
  const { count, ...content } = isFitted
    ? await fitHeads(options, request)
    : await compareHeads(options, request);
  await file.write(new TextEncoder().encode(`${JSON.stringify(content)}\n`));
  await file.commit();
  progress.finish();
  io.out(`${out}: ${count}, mean cosine ${mean(content.cosine).toFixed(4)}\n`);
  return EXIT.ok;
}

/** A text that both models run. */
interface MatchRequest {
  readonly large: ExperimentModel;
  readonly small: ExperimentModel;
  readonly tokens: readonly number[];
  readonly io: CommandIo;
  readonly progress: Progress;
}

async function compareHeads(
  options: PairMatchOptions,
  { large, small, tokens, io, progress }: MatchRequest,
) {
  progress.describe("large model");
  const rows = await saliencyOf(large, tokens, io);
  progress.describe("small model");
  const columns = await saliencyOf(small, tokens, io);
  const found = matchHeads(rows, columns, headChoice(options, small));
  return {
    count: `${found.match.length} heads`,
    window: found.window,
    topTokens: found.topTokens,
    match: [...found.match],
    similarity: [...found.similarity],
    cosine: [...found.cosine],
  };
}

async function fitHeads(
  match: PairMatchOptions,
  { large, small, tokens, io, progress }: MatchRequest,
) {
  const captures = captureRows(large, small, { match, tokens: tokens.length })!;
  for (const [name, model] of Object.entries({ large, small })) {
    progress.describe(`${name} model`);
    await collectRows(model, { tokens, io, rows: captures[name as keyof typeof captures] });
  }
  const pair = { large: captures.large.rows, small: captures.small.rows };
  const map = fitMap(pair, {
    ...(match.fitHeads !== undefined && { heads: match.fitHeads }),
    ...(match.fitRidge !== undefined && { ridge: match.fitRidge }),
  });
  const cosine = [...mapSimilarity(map, pair).cosine];
  return { count: `a map of ${map.groups} head groups`, fittedMap: fittedMapJson(map), cosine };
}

async function collectRows(
  model: ExperimentModel,
  { tokens, io: { signal }, rows }: {
    readonly tokens: readonly number[];
    readonly io: CommandIo;
    readonly rows: RowCapture;
  },
): Promise<void> {
  const { first } = rows;
  const values = await model.attentionRows(tokens, { first, signal });
  const { layers, queryHeads } = model;
  const queries = tokens.length - first;
  const size = queries * tokens.length;
  for (let flat = 0; flat < layers * queryHeads; flat++) {
    rows.add({
      layer: Math.floor(flat / queryHeads),
      head: flat % queryHeads,
      firstQuery: first,
      queries,
      keys: tokens.length,
      values: values.subarray(flat * size, (flat + 1) * size),
    });
  }
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
