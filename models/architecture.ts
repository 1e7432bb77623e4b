/**
 * What defines a model family, so that its files can be read; the forward pass is shared.
 *
 * @module
 */

import type { Activation } from "../kernels/gate_multiply.ts";
import type { BlockNorms, ModelConfig } from "./config.ts";
import type { ConfigFields } from "./config_fields.ts";

/** A family of models: names in files, the few switches, and defaults of fields that files may leave out. */
export interface Architecture {
  /** File stem, and the value of `ModelConfig.architecture`. */
  readonly name: string;
  /** Name in messages. */
  readonly label: string;
  /** Values of `model_type` in `config.json`. */
  readonly modelTypes: readonly string[];
  /** Values of `general.architecture` in GGUF files. */
  readonly ggufNames: readonly string[];
  /** Whether GGUF files hold the rotated pairs of query and key heads next to each other. */
  readonly isGgufInterleaved: boolean;
  /**
   * Which projections have biases: always query, key and value; none; or, as `attention_bias` and `mlp_bias` say, all of
   * attention and all of the MLP.
   */
  readonly biases: "qkv" | "none" | "announced";
  /** Whether query and key heads are normalized. */
  readonly hasQkNorm: boolean;
  /** Whether that norm is over all query heads, and all key heads, of a token together; no if left out. */
  readonly isQkNormJoint?: boolean;
  /** Where the norms of a block stand; before attention and MLP if left out. */
  readonly blockNorms?: BlockNorms;
  /** What the weights of norms in safetensors files lack, and those in GGUF files include; 0 if left out. */
  readonly normOffset?: number;
  /**
   * Which layers attend to a window only: those of `layer_types`, or from `max_window_layers` on, if `use_sliding_window` is
   * set; all of them unless `sliding_window` is null (`unlessNull`), or if it is a number (`ifGiven`); all but every `windowPattern`-th one; or none.
   */
  readonly slidingWindow: "flagged" | "unlessNull" | "ifGiven" | "pattern" | "never";
  /** One in how many layers sees all tokens, where windows follow a pattern and files do not tell. */
  readonly windowPattern?: number;
  /**
   * Whether layers with a window have a rotation of their own: `rope_local_base_freq`, and `rope_scaling` for the others
   * only. No if left out.
   */
  readonly hasWindowedRope?: boolean;
  /** Reads what other families do not have from `config.json`. */
  readonly readJson?: FamilyReader;
  /** Reads the same from GGUF metadata, whose keys come without the family's name. */
  readonly readGguf?: FamilyReader;
  /** Keys of GGUF metadata that `readGguf` reads, and that are refused for other families. */
  readonly ggufKeys?: readonly string[];
  /** Values of fields that `config.json` leaves out because the family fixes them. */
  readonly defaults: ArchitectureDefaults;
}

/**
 * Reads fields of one family.
 *
 * @param fields Fields of the file.
 * @param config What all families have in common, already read.
 * @returns What replaces or adds to it.
 * @throws {DataError} If a field asks for something that the forward pass does not compute.
 */
export type FamilyReader = (fields: ConfigFields, config: ModelConfig) => Partial<ModelConfig>;

/** Values that transformers assumes for fields missing from `config.json`. */
export interface ArchitectureDefaults {
  /** `num_attention_heads`; required if left out. */
  readonly queryHeads?: number;
  /** `vocab_size`; required if left out. */
  readonly vocabulary?: number;
  /** Elements of a head; hidden size / query heads if left out. */
  readonly headDim?: number;
  /** KV heads; as many as query heads if left out. */
  readonly kvHeads?: number;
  /** `max_position_embeddings`. */
  readonly contextLength: number;
  /** `rms_norm_eps`. */
  readonly normEpsilon: number;
  /** `rope_theta`. */
  readonly ropeBase: number;
  /** `rope_parameters`; empty if left out. */
  readonly rope?: Readonly<Record<string, unknown>>;
  /** Base of the rotation of layers with a window, where it differs. */
  readonly windowedRopeBase?: number;
  /** `sliding_window`; 4096 if left out. */
  readonly window?: number;
  /** Activation of the MLP; SiLU if left out. */
  readonly activation?: Activation;
  /** `tie_word_embeddings`; false if left out. */
  readonly isTied?: boolean;
  /** `bos_token_id`; none if left out. */
  readonly bosTokenId?: number;
  /** `eos_token_id`; none if left out. */
  readonly eosTokenId?: number;
}
