/**
 * Parts of a prompt that one model runs: what its scores read row by row, and what comes before.
 *
 * @module
 */

import type { HostScores } from "../scoring/host_scores.ts";
import type { RowCapture } from "../scoring/map_fitting.ts";
import type { MapBlock } from "../session/maps.ts";
import type { Session } from "../session/session.ts";
import type { PrefillOptions } from "../session/session_options.ts";
import { repeatPrompt } from "./repetition.ts";

/** Scores that read a prompt's attention while a model runs it. */
export interface Observer {
  readonly scores: HostScores;
  /** How many of the last rows of its attention they read. */
  readonly promptRows: number;
}

/** Some tokens of a prompt. */
interface PromptPart {
  /** Position of the first one. */
  readonly start: number;
  /** The tokens. */
  readonly tokens: readonly number[];
  /** What reads its rows of attention. */
  readonly observed: readonly RowReader[];
}

/** What reads the last rows of a prompt. */
interface RowReader {
  /** Position of the first row that it reads. */
  readonly first: number;
  /** Takes rows of one head, some of which may come before the first. */
  add(block: MapBlock): void;
}

/** Readers of a prompt's last rows: scores that look at some, and a capture to fit a map on. */
export function readersOf(
  observers: readonly Observer[],
  tokens: number,
  capture: RowCapture | undefined,
): RowReader[] {
  const readers = observers.filter(({ promptRows }) => promptRows > 0)
    .map(({ scores, promptRows }) => {
      const first = Math.max(0, tokens - promptRows);
      return { first, add: (block: MapBlock) => addRows(scores, block, first) };
    });
  return capture ? [...readers, capture] : readers;
}

/** Cuts a prompt before the first row that a score reads; leaves out its first tokens. */
export function promptParts(
  tokens: readonly number[],
  observed: readonly RowReader[],
  start = 0,
): PromptPart[] {
  const cut = Math.min(tokens.length, ...observed.map(({ first }) => first));
  const parts = [
    { start, tokens: tokens.slice(start, cut), observed: [] },
    { start: cut, tokens: tokens.slice(cut), observed },
  ];
  return parts.filter((part) => part.tokens.length > 0);
}

/** Runs the parts of a prompt in a sequence that holds what comes before them. */
export async function runParts(
  session: Pick<Session, "model" | "prefill">,
  parts: readonly PromptPart[],
  options: Pick<PrefillOptions, "signal" | "onLogits" | "onProgress" | "exactSums"> & {
    readonly sequence: number;
    readonly observers: readonly Observer[];
    /** The whole prompt. */
    readonly tokens: readonly number[];
    /** Whether received attention is summed. */
    readonly isSummed: boolean;
    /** Whether the next token is chosen; false if left out. */
    readonly isChosen?: boolean;
  },
): Promise<void> {
  const { sequence, observers, isSummed, isChosen, onLogits, onProgress, signal, exactSums } =
    options;
  const scores = observers.map((observer) => observer.scores)
    .filter(({ readsRepetition }) => readsRepetition);
  if (scores.length > 0) {
    // Before the prompt itself, so that its cache and that of the repetition are not there at the same time.
    await repeatPrompt(session.model, options.tokens, { scores, ...(signal && { signal }) });
  }
  const heads = Array.from({ length: session.model.config.queryHeads }, (_, head) => head);
  for (const part of parts) {
    const { start, tokens, observed } = part;
    await session.prefill(tokens, {
      sequence,
      isSummed,
      logits: isChosen && part === parts.at(-1) ? "last" : "none",
      ...(signal && { signal }),
      ...(onLogits && { onLogits }),
      ...(exactSums && { exactSums }),
      ...queryTap(observers),
      ...(observed.length > 0 && {
        heads: () => heads,
        onMap: (block: MapBlock) => {
          for (const reader of observed) reader.add(block);
        },
      }),
      onProgress: (done) => onProgress?.(start + done),
    });
  }
}

/**
 * Adds the rows of a block to scores, from a position on.
 *
 * @param scores The scores.
 * @param block Rows of one head.
 * @param first Position of the first row that counts.
 */
export function addRows(scores: HostScores, block: MapBlock, first: number): void {
  const skipped = Math.max(0, first - block.firstQuery);
  if (skipped >= block.queries) return;
  scores.addPromptRows({
    ...block,
    firstQuery: block.firstQuery + skipped,
    queries: block.queries - skipped,
    values: block.values.subarray(skipped * block.keys),
  });
}

/** Passes the queries of a prompt to the scores that read them. */
export function queryTap(
  observers: readonly { readonly scores: HostScores }[],
): Pick<PrefillOptions, "onQueries"> {
  const readers = observers.map(({ scores }) => scores).filter(({ queries }) => queries);
  if (readers.length === 0) return {};
  return {
    onQueries(layer, first, rows) {
      for (const reader of readers) reader.addQueries(layer, first, rows);
    },
  };
}
