/**
 * Copies between the sequences of a batch and those of the helper, where several sequences share one.
 *
 * @module
 */

import type { Command } from "../../gpu/device.ts";
import type { ForwardState } from "../../models/forward/forward.ts";
import type { PolicyStep } from "../selection/buffers.ts";

/**
 * Copies tokens: each sequence of the helper reads those of the first sequence that it guides.
 *
 * @param step Small model and the sequences.
 * @param large Model whose tokens are copied.
 * @returns Commands that write the small model's tokens.
 */
export function tokenCopies({ forward, shape, lanes }: PolicyStep, large: ForwardState): Command[] {
  const byteLength = 4 * shape.capacity;
  return lanes.leaders.map((leader, stream) => ({
    source: large.workspace.tokens,
    sourceOffset: byteLength * leader,
    target: forward.workspace.tokens,
    targetOffset: byteLength * stream,
    byteLength,
  }));
}

/**
 * Copies the helper's newest rows to the sequences that share one of its own.
 *
 * @param step Buffers and sizes of the policies, the sequences.
 * @returns Commands that write `rows`; none if every sequence has a helper of its own.
 */
export function rowCopies({ buffers, shape, lanes }: PolicyStep): Command[] {
  if (buffers.streamRows === buffers.rows) return [];
  const byteLength = 4 * shape.helperHeads * shape.capacity;
  return lanes.streams.flatMap((stream, lane) =>
    stream === undefined ? [] : [{
      source: buffers.streamRows,
      sourceOffset: byteLength * stream,
      target: buffers.rows,
      targetOffset: byteLength * lane,
      byteLength,
    }]
  );
}
