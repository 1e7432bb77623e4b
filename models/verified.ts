/**
 * Register of model files that were compared with transformers: `verified.json`, which `deno task verify` writes.
 *
 * @module
 */

import register from "./verified.json" with { type: "json" };

/** Positions at which this engine and the reference choose the same most probable token. */
export interface SameTopOne {
  /** Positions with the same token. */
  readonly same: number;
  /** Positions that were compared. */
  readonly of: number;
}

/** How far this engine is from the reference. */
export interface VerifiedFigures {
  /** Mean divergence of the next-token distributions, over all positions and the whole vocabulary, in nats. */
  readonly meanKl: number;
  /** The largest divergence, in nats. */
  readonly largestKl: number;
  /** Most probable tokens where those of the reference differ by more than 0.1 in log-probability. */
  readonly clearTopOne: SameTopOne;
  /** Most probable tokens at all positions. */
  readonly topOne: SameTopOne;
  /** Largest difference of any element of any attention map, all layers and heads. */
  readonly attentionMap: number;
  /** Largest difference of a column sum of attention, relative to the largest sum of the same head. */
  readonly columnSum: number;
}

/** What a file was compared with. */
export interface VerifiedReference {
  /** Version of transformers. */
  readonly transformers: string;
  /** Version of PyTorch. */
  readonly torch: string;
  /** Type that it computed in. */
  readonly dtype: string;
  /** Whose weights it had: those of the file, with the configuration of the file or of a folder; or another model's. */
  readonly weights: string;
}

/** A model file, and what a comparison with transformers on the same token ids found. */
export interface VerifiedModel {
  /** Name of the model, as `info` prints it. */
  readonly model: string;
  /** Label of its family. */
  readonly family: string;
  /** Hash of its files, as `info` prints it. */
  readonly hash: string;
  /** Day of the comparison, YYYY-MM-DD. */
  readonly date: string;
  /** Back end that computed: `cpu`, `webgpu`, `dawn` or `reference`. */
  readonly device: string;
  /** The yardstick. */
  readonly reference: VerifiedReference;
  /** Number of token ids. */
  readonly tokens: number;
  /** SHA-256 of the ids as JSON. */
  readonly tokensHash: string;
  /** Whether transformers' tokenizer makes the same ids of the text: `yes`, or `no` or `unknown` with the reason. */
  readonly tokenizer: string;
  /** The differences. */
  readonly figures: VerifiedFigures;
  /** Version of this product. */
  readonly version: string;
  /** Its commit, where a checkout tells. */
  readonly commit?: string;
  /** Command that compares again; `$SMALLKV_MODELS` stands for the folder of the files. */
  readonly command: string;
}

/** Everything that was verified, by model, then device. */
export const VERIFIED_MODELS: readonly VerifiedModel[] = register;

/**
 * Adds a row, or replaces the one of the same file on the same device.
 *
 * @param rows Other rows.
 * @param row The new one.
 * @returns Rows by model, then device, then hash.
 */
export function withVerified(
  rows: readonly VerifiedModel[],
  row: VerifiedModel,
): readonly VerifiedModel[] {
  const others = rows.filter(({ hash, device }) => hash !== row.hash || device !== row.device);
  const key = ({ model, device, hash }: VerifiedModel) => `${model}\n${device}\n${hash}`;
  return [...others, row].sort((one, other) => key(one) < key(other) ? -1 : 1);
}
