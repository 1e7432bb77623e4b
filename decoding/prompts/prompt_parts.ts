/**
 * A prompt in parts: what is summed and what is looked at differs from its beginning to its end.
 *
 * @module
 */

import type { MapBlock } from "../sessions/map_reader.ts";
import type { OwnScores } from "../selections/own_scores.ts";
import type { MatchWindow } from "./prompt_match.ts";
import type { PolicySequence } from "../policies/policy_sequence.ts";
import type { Session } from "../sessions/session.ts";

/** What a prompt's run tells. */
export interface PromptEvents {
  /** Receives the logits of the prompt's last row, [1, vocabulary], and the sequences that continue from them. */
  readonly onLogits?: (logits: Float32Array, sequences: readonly number[]) => void;
  /** Called with the tokens done so far, of both models together, and how many there are. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Stops between chunks. */
  readonly signal?: AbortSignal;
}

/** A sequence that begins with a prompt. */
export interface PromptLane {
  /** Sequence of the large model. */
  readonly index: number;
  /** Sequence of the small model; absent without a helper. */
  readonly stream: number | undefined;
  /** Its state. */
  readonly sequence: PolicySequence;
}

/** Begin or end of the matching window. */
export type WindowEdge = "first" | "end";

/** Some tokens of a prompt. */
export interface PromptPart {
  /** Position of the first one. */
  readonly start: number;
  /** The tokens. */
  readonly tokens: readonly number[];
  /** Whether the attention of its rows is summed. */
  readonly isSummed: boolean;
  /** Whether it begins the matching window behind other tokens, or ends it. */
  readonly edges: readonly WindowEdge[];
  /** Who looks at its rows of attention, and from which position on. */
  readonly watched: readonly { readonly own: OwnScores; readonly first: number }[];
}

/**
 * Cuts the large model's prompt where something begins or ends: sums for matching, sums for policies, rows that policies
 * look at.
 *
 * @param tokens The prompt.
 * @param options Matching window, if there is matching; the sequences that begin with the prompt.
 * @returns Parts in order.
 */
export function promptParts(
  tokens: readonly number[],
  options: { readonly window?: MatchWindow; readonly lanes: readonly PromptLane[] },
): PromptPart[] {
  const { window, lanes } = options;
  const all = tokens.length;
  const needsSums = lanes.some(({ sequence: { own } }) => own?.needsSums);
  const watchers = lanes.flatMap(({ sequence: { own, promptRows } }) =>
    own && promptRows > 0 ? [{ own, first: Math.max(0, all - promptRows) }] : []
  );
  const firstWatched = Math.min(all, ...watchers.map(({ first }) => first));
  const ends = cutsOf([window?.first, window?.end, firstWatched, all]);
  return ends.map((end, index) => {
    const start = index === 0 ? 0 : ends[index - 1]!;
    return {
      start,
      tokens: tokens.slice(start, end),
      isSummed: needsSums || isInside(window, start, end),
      edges: edgesOf(window, start, end),
      watched: start >= firstWatched ? watchers : [],
    };
  });
}

/**
 * Sorts positions at which a prompt is cut.
 *
 * @param cuts Positions; those that are missing or at its beginning are left out.
 * @returns Ends of its parts, ascending.
 */
export function cutsOf(cuts: readonly (number | undefined)[]): number[] {
  return [...new Set(cuts)].filter((cut) => cut !== undefined && cut > 0)
    .map(Number).sort((a, b) => a - b);
}

/**
 * Tells whether a part lies in a matching window.
 *
 * @param window The window, if there is one.
 * @param start Position of the part's first token.
 * @param end Position behind its last one.
 * @returns Whether all of its rows count.
 */
export function isInside(
  window: MatchWindow | undefined,
  start: number,
  end: number,
): boolean {
  return window !== undefined && start >= window.first && end <= window.end;
}

/**
 * Tells which edges of a matching window a part has.
 *
 * @param window The window, if there is one.
 * @param start Position of the part's first token.
 * @param end Position behind its last one.
 * @returns `first` if rows before it may have been summed, `end` if it is the window's last part.
 */
export function edgesOf(
  window: MatchWindow | undefined,
  start: number,
  end: number,
): WindowEdge[] {
  return [
    ...(window && start > 0 && start === window.first ? ["first" as const] : []),
    ...(end === window?.end ? ["end" as const] : []),
  ];
}

/**
 * Runs the parts of a prompt.
 *
 * @param session Session with nothing in the sequence yet.
 * @param parts Parts in order.
 * @param options Sequence; whether the last row's logits are wanted; what to tell, the edges of the matching window too.
 */
export async function runParts(
  session: Session,
  parts: readonly PromptPart[],
  options: Omit<PromptEvents, "onProgress"> & {
    readonly sequence: number;
    /** Sequences that continue from this one. */
    readonly sequences?: readonly number[];
    readonly logits: "last" | "none";
    readonly onWindow: (edge: WindowEdge) => Promise<void>;
    readonly onProgress?: (done: number) => void;
  },
): Promise<void> {
  const { sequence, logits, onWindow, onLogits, onProgress, signal } = options;
  const { sequences = [sequence] } = options;
  const heads = Array.from({ length: session.model.config.queryHeads }, (_, head) => head);
  for (const part of parts) {
    const { start, tokens, isSummed, watched, edges } = part;
    if (edges.includes("first")) await onWindow("first");
    await session.prefill(tokens, {
      sequence,
      isSummed,
      logits: part === parts.at(-1) ? logits : "none",
      ...(signal && { signal }),
      ...(onLogits && { onLogits: (row) => onLogits(row, sequences) }),
      ...(watched.length > 0 && {
        heads: () => heads,
        onMap: (block: MapBlock) => {
          for (const { own, first } of watched) addRows(own, block, first);
        },
      }),
      onProgress: (done) => onProgress?.(start + done),
    });
    if (edges.includes("end")) await onWindow("end");
  }
}

/**
 * Gives a policy's memory the rows of a block from a position on.
 *
 * @param own The memory.
 * @param block Rows of one head.
 * @param first Position of the first row that counts.
 */
export function addRows(own: OwnScores, block: MapBlock, first: number): void {
  const skipped = Math.max(0, first - block.firstQuery);
  if (skipped >= block.queries) return;
  own.addPromptRows({
    ...block,
    firstQuery: block.firstQuery + skipped,
    queries: block.queries - skipped,
    values: block.values.subarray(skipped * block.keys),
  });
}
