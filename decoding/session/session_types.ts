/**
 * How a session is made and what a prefill yields.
 *
 * @module
 */

import type { HeadSelection, MapBlock } from "./map_reader.ts";

/** Sizes and extras of a session. */
export interface SessionOptions {
  /** Tokens that fit per sequence; at most the model's context length. */
  readonly capacity: number;
  /** Sequences held side by side; 1 if left out. */
  readonly sequences?: number;
  /** Rows of one prefill step; 128 if left out. */
  readonly chunk?: number;
  /** Whether attention that tokens receive is summed; costs one more product of queries and keys. */
  readonly accumulate?: boolean;
  /** Whether each head sees only what `setVisible` names. */
  readonly masked?: boolean;
  /** Whether keys and values are cached in 32 bits, so that attention is the original's; in 16 if left out. */
  readonly isExact?: boolean;
}

/** What one prefill should yield. */
export interface PrefillOptions {
  /** Which sequence grows; 0 if left out. */
  readonly sequence?: number;
  /** Rows whose logits are computed; all but `none` also choose the next token. `last` if left out. */
  readonly logits?: "none" | "last" | "all";
  /** Receives logits, [rows, vocabulary], in order. */
  readonly onLogits?: (logits: Float32Array) => void;
  /** Heads whose attention maps are wanted. */
  readonly heads?: HeadSelection;
  /** Receives each wanted map, some rows at a time. */
  readonly onMap?: (block: MapBlock) => void;
  /** Factor on the attention of each row relative to the next one's where it is summed; 1 if left out. */
  readonly rowDecay?: number;
  /** Whether received attention is summed where the session sums it at all; true if left out. */
  readonly isSummed?: boolean;
  /** Called after each chunk with the tokens done so far. */
  readonly onProgress?: (tokens: number) => void;
  /** Stops between chunks with the signal's reason. */
  readonly signal?: AbortSignal;
}
