/**
 * A prompt in parts: what is summed and what is looked at differs from its beginning to its end.
 *
 * @module
 */

import type { MapBlock } from "../session/map_reader.ts";
import type { OwnScores } from "../scoring/large_scores.ts";
import type { PolicySequence } from "./sequence.ts";
import type { Session } from "../session/session.ts";

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

/** Some tokens of a prompt. */
export interface PromptPart {
  /** Position of the first one. */
  readonly start: number;
  /** The tokens. */
  readonly tokens: readonly number[];
  /** Whether the attention of its rows is summed. */
  readonly isSummed: boolean;
  /** Who looks at its rows of attention, and from which position on. */
  readonly watched: readonly { readonly own: OwnScores; readonly first: number }[];
}

/**
 * Cuts the large model's prompt where rows begin that policies look at.
 *
 * @param tokens The prompt.
 * @param lanes The sequences that begin with it.
 * @returns Parts in order.
 */
export function promptParts(
  tokens: readonly number[],
  lanes: readonly PromptLane[],
): PromptPart[] {
  const isSummed = lanes.some(({ sequence: { own } }) => own?.needsSums);
  const watched = lanes.flatMap(({ sequence: { own, promptRows } }) =>
    own && promptRows > 0 ? [{ own, first: Math.max(0, tokens.length - promptRows) }] : []
  );
  const cut = Math.min(tokens.length, ...watched.map(({ first }) => first));
  const parts = [
    { start: 0, tokens: tokens.slice(0, cut), isSummed, watched: [] },
    { start: cut, tokens: tokens.slice(cut), isSummed, watched },
  ];
  return parts.filter((part) => part.tokens.length > 0);
}

/**
 * Runs the parts of a prompt.
 *
 * @param session Session with nothing in the sequence yet.
 * @param parts Parts in order.
 * @param options Sequence; what to tell.
 */
export async function runParts(
  session: Session,
  parts: readonly PromptPart[],
  options: Omit<PromptEvents, "onProgress"> & {
    readonly sequence: number;
    /** Sequences that continue from this one. */
    readonly sequences: readonly number[];
    readonly onProgress?: (done: number) => void;
  },
): Promise<void> {
  const { sequence, sequences, onLogits, onProgress, signal } = options;
  const heads = Array.from({ length: session.model.config.queryHeads }, (_, head) => head);
  for (const part of parts) {
    const { start, tokens, isSummed, watched } = part;
    await session.prefill(tokens, {
      sequence,
      isSummed,
      logits: part === parts.at(-1) ? "last" : "none",
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
