/**
 * Options of `generate` that decide which small head stands for each large one.
 *
 * @module
 */

import { NORMALISATIONS } from "../analysis/row_means.ts";
import type { ResolvedPolicy } from "../cache/policy_options.ts";
import { DataError } from "../core/check.ts";
import { MATCH_SIDES, type PairMatchOptions } from "../decoding/scoring/head_matching.ts";
import type { CommandCall, OptionSpec } from "./command.ts";
import { readTextFile } from "./token_input.ts";

const MATCH_TIES = ["cosine", "first"] as const;

/** Options of head matching, as flags. */
export const MATCH_FLAGS: Readonly<Record<string, OptionSpec>> = {
  "match-side": { type: "string", choices: MATCH_SIDES, text: "tokens compared (D-3)" },
  "match-window": { type: "string", placeholder: "N", text: "rows compared (D-3), 200" },
  "match-top": { type: "string", placeholder: "SHARE|Nt", text: "salient tokens (D-5), 0.2" },
  "match-ignore": { type: "string", placeholder: "N", text: "first tokens left out (D-8), 0" },
  "match-by": { type: "string", choices: ["jaccard", "cosine"], text: "what is maximized" },
  "match-ties": { type: "string", choices: MATCH_TIES, text: "what settles ties (D-6)" },
  "match-normalise": { type: "string", choices: NORMALISATIONS, text: "divisor of sums (D-1)" },
  "match-map": { type: "string", placeholder: "FILE.json", text: "known match (D-22)" },
  rematch: { type: "string", placeholder: "N", text: "tokens from match to match (D-22), never" },
};

/**
 * Reads how heads are matched.
 *
 * @param call The command line.
 * @param policies What is run.
 * @returns Choices that were made.
 * @throws {UsageError} If a value is not allowed, would change nothing, or no policy has a helper.
 */
export function readMatchOptions(
  call: CommandCall,
  policies: readonly ResolvedPolicy[],
): PairMatchOptions {
  const flag = Object.keys(MATCH_FLAGS).find((name) => call.has(name));
  if (flag !== undefined && policies.every(({ scores }) => scores !== "helper")) {
    call.fail(
      `--${flag} must go with a policy that has a helper, such as smallkv: current value is ${
        policies.map(({ name }) => name).join(", ")
      }`,
    );
  }
  const other = Object.keys(MATCH_FLAGS).find((name) => name !== "match-map" && call.has(name));
  if (call.has("match-map") && other !== undefined) {
    call.fail(`--match-map and --${other} exclude each other: current value is both`);
  }
  const count = { min: 1, max: 1 << 20, isInteger: true };
  return {
    ...readWords(call),
    ...readTop(call),
    ...(call.has("match-window") &&
      { window: call.number("match-window", { ...count, min: 100 }) }),
    ...(call.has("match-ignore") &&
      { ignoredTokens: call.number("match-ignore", { ...count, min: 0, max: 90 }) }),
    ...(call.has("rematch") && { rematch: call.number("rematch", count) }),
  };
}

/**
 * Reads a match that is known beforehand.
 *
 * @param call The command line.
 * @returns The small head of each large head, as `deno task match` writes it; nothing if none is named.
 * @throws {DataError} If the file cannot be read or holds none.
 */
export async function readMatchMap(call: CommandCall): Promise<Pick<PairMatchOptions, "map">> {
  const path = call.value("match-map");
  if (path === undefined) return {};
  const text = await readTextFile(path);
  const wrong = (current: string) =>
    new DataError(`Cannot read ${path}: the file must hold a match: current ${current}`);
  let map: unknown;
  try {
    map = (JSON.parse(text) as { match?: unknown } | null)?.match;
  } catch (cause) {
    throw wrong(`error is ${(cause as Error).message}`);
  }
  if (Array.isArray(map) && map.every((head) => Number.isSafeInteger(head))) return { map };
  throw wrong("content has no integers under match");
}

function readWords(call: CommandCall): PairMatchOptions {
  const side = call.value("match-side") as PairMatchOptions["side"];
  const by = call.value("match-by") as PairMatchOptions["by"];
  const ties = call.value("match-ties") as PairMatchOptions["ties"];
  const normalise = call.value("match-normalise") as PairMatchOptions["normalise"];
  return {
    ...(side && { side }),
    ...(by && { by }),
    ...(ties && { ties }),
    ...(normalise && { normalise }),
  };
}

/** A share of the rows as `0.2`, or a number of tokens as `40t`. */
function readTop(call: CommandCall): PairMatchOptions {
  const text = call.value("match-top");
  if (text === undefined) return {};
  const [, digits = "", unit] = /^(\d+(?:\.\d+)?|\.\d+)(t?)$/.exec(text.trim()) ?? [];
  const value = Number(digits);
  if (unit === "t" && Number.isSafeInteger(value) && value > 0) return { topTokens: value };
  if (unit === "" && value > 0 && value <= 1) return { topShare: value };
  return call.fail(
    `--match-top must be a share above 0 and at most 1, as 0.2, or a number of tokens, as 40t: current value is ${text}`,
  );
}
