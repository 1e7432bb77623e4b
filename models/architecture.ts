/**
 * What defines a model family, so that its files can be read; the forward pass is shared.
 *
 * @module
 */

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
  /** Whether each query and key head is normalized. */
  readonly hasQkNorm: boolean;
  /** When layers attend to a window only: if `use_sliding_window` is set, unless `sliding_window` is null, or never. */
  readonly slidingWindow: "flagged" | "unlessNull" | "never";
  /** Values of fields that `config.json` leaves out because the family fixes them. */
  readonly defaults: ArchitectureDefaults;
}

/** Values that transformers assumes for fields missing from `config.json`. */
export interface ArchitectureDefaults {
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
  /** `bos_token_id`; none if left out. */
  readonly bosTokenId?: number;
  /** `eos_token_id`; none if left out. */
  readonly eosTokenId?: number;
}
