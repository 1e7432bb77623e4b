/**
 * What sessions, and the prompts that they run, are asked for.
 *
 * @module
 */

import type { CacheBits } from "../../cache/full_cache.ts";
import type { ActivationPool } from "./activation_pool.ts";
import type { ExactSums } from "./exact_sums.ts";
import type { HeadSelection, MapBlock } from "./maps.ts";

/** Sizes and extras of a session. */
export interface SessionOptions {
  /** Tokens that fit per sequence; at most the model's context length. */
  readonly capacity: number;
  /** Sequences held side by side; 1 if left out. */
  readonly sequences?: number;
  /** Rows of one prefill step; if left out, 512 on GPUs and 128 elsewhere. */
  readonly chunk?: number;
  /** Whether attention that tokens receive is summed; costs one more product of queries and keys. */
  readonly accumulate?: boolean;
  /** Whether each head sees only what `setVisible` names. */
  readonly masked?: boolean;
  /** Whether keys and values are cached in 32 bits, which makes attention exact; in `cacheBits` if left out. */
  readonly isExact?: boolean;
  /** Bits of a cached number, `"8/4"` for 8 in keys and 4 in values; 16 if left out. */
  readonly cacheBits?: CacheBits;
  /**
   * Whether layers with a window hold all tokens, as rewinding by more than a chunk and reading all keys take; false if left
   * out: then they hold their window, a chunk, and what rounds it up.
   */
  readonly holdsAll?: boolean;
  /**
   * Whether nothing but attention is read, so that the last layer computes and holds no values; logits then mean nothing.
   * False if left out.
   */
  readonly isAttentionOnly?: boolean;
  /**
   * Activations that it shares with sessions that never run at the same time; its own if left out.
   *
   * @internal
   */
  readonly activations?: ActivationPool | undefined;
}

/** How a prefill is run, and what it captures. */
export interface PrefillOptions {
  /** Which sequence grows; 0 if left out. */
  readonly sequence?: number;
  /** Rows whose logits are computed; all but `none` also choose the next token. `last` if left out. */
  readonly logits?: "none" | "last" | "all";
  /** Receives logits, [rows, vocabulary], in order. */
  readonly onLogits?: (logits: Float32Array) => void;
  /** Heads whose attention maps are captured. */
  readonly heads?: HeadSelection;
  /** Receives each captured map, some rows at a time. */
  readonly onMap?: (block: MapBlock) => void;
  /** Receives the rotated queries of each layer, [rows][queryHeads * headDim], and the position of the first row. */
  readonly onQueries?: (layer: number, firstQuery: number, rows: readonly Float32Array[]) => void;
  /** Receives the residual stream after the embedding (0) and each layer (from 1), [rows][hidden], and the first row's position. */
  readonly onHidden?: (place: number, firstRow: number, rows: readonly Float32Array[]) => void;
  /** Factor on the attention of each row relative to the next one's where it is summed; 1 if left out. */
  readonly rowDecay?: number;
  /** Whether received attention is summed, in a session that accumulates it; true if left out. */
  readonly isSummed?: boolean;
  /**
   * Takes sums from keys in 32 bits beside the pass; made for this session, whose sequence must be empty.
   *
   * @internal
   */
  readonly exactSums?: ExactSums;
  /** Called after each chunk with the tokens run so far; a GPU may be a quarter of a second behind. */
  readonly onProgress?: (tokens: number) => void;
  /** Stops between chunks with the signal's reason. */
  readonly signal?: AbortSignal;
}
