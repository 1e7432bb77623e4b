/**
 * The models of the toolkit as experiments and commands see them.
 *
 * @module
 */

import { DataError } from "../core/check.ts";
import { attentionRows } from "../decoding/sessions/attention_rows.ts";
import { RealDrop } from "../decoding/policies/real_drop.ts";
import { traceAttention } from "../decoding/sessions/trace.ts";
import type { Device } from "../gpu/device.ts";
import type { ModelConfig } from "../models/config.ts";
import { loadModel, type Model } from "../models/load.ts";
import { openModelFiles } from "../models/open.ts";
import {
  createTextStream,
  createTokenizer,
  type Tokenizer,
  type TokenizerFiles,
} from "../models/tokenizer/tokenizer.ts";
import { vocabularyHash } from "../models/tokenizer/vocabulary_hash.ts";
import type {
  RealDropOptions,
  RowOptions,
  Trace,
  TraceOptions,
} from "../experiments/experiment.ts";
import type { Capture, CaptureOptions, EngineModel } from "./engine.ts";

/** Where a model comes from and where it runs. */
export interface LabModelOptions {
  /** File, folder, address or `hf:` name. */
  readonly reference: string;
  /** Name for people; that of the files if left out. */
  readonly name?: string;
  /** Where it runs. */
  readonly device: Device;
  /** Told what is loaded, with the share that is done. */
  readonly onProgress?: (detail: string, share: number) => void;
}

/** A model that loads its weights when it is first run. */
export class LabModel implements EngineModel, Disposable {
  readonly name: string;
  readonly hash: string;
  readonly layers: number;
  readonly queryHeads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly hidden: number;
  readonly mlp: number;
  readonly vocabulary: number;
  readonly contextLength: number;
  readonly endTokens: readonly number[];
  readonly weightBytes: number;
  readonly tokenizerHash?: string;
  readonly #options: LabModelOptions;
  readonly #tokenizer: Tokenizer | undefined;
  readonly #owned = new DisposableStack();
  #model: Promise<Model> | undefined;
  #drop: { readonly key: string; readonly state: RealDrop } | undefined;

  private constructor(
    options: LabModelOptions,
    facts: {
      readonly name: string;
      readonly hash: string;
      readonly config: ModelConfig;
      readonly weightBytes: number;
      readonly tokenizer?: TokenizerFiles;
    },
  ) {
    const { config, tokenizer } = facts;
    this.#options = options;
    this.name = facts.name;
    this.hash = facts.hash;
    this.layers = config.layers;
    this.queryHeads = config.queryHeads;
    this.kvHeads = config.kvHeads;
    this.headDim = config.headDim;
    this.hidden = config.hidden;
    this.mlp = config.mlp;
    this.vocabulary = config.vocabulary;
    this.contextLength = config.contextLength;
    this.endTokens = config.eosTokenIds;
    this.weightBytes = facts.weightBytes;
    if (tokenizer) {
      this.#tokenizer = createTokenizer(tokenizer);
      this.tokenizerHash = vocabularyHash(this.#tokenizer);
    }
  }

  /** Reads sizes and tokenizer; weights stay where they are until the model is run. */
  static async open(options: LabModelOptions): Promise<LabModel> {
    await using files = await openModelFiles(options.reference);
    return new LabModel(options, {
      name: options.name ?? files.name,
      hash: files.hash,
      config: files.config,
      weightBytes: [...files.source.tensors.values()]
        .reduce((sum, { byteLength }) => sum + byteLength, 0),
      ...(files.tokenizer && { tokenizer: files.tokenizer }),
    });
  }

  /** Loads the weights, once. */
  async load(): Promise<Model> {
    const { reference, device, onProgress } = this.#options;
    this.#model ??= loadModel(reference, {
      device,
      onLayer: (done, layers) => onProgress?.(`loading ${this.name}`, done / layers),
    }).then((model) => this.#owned.use(model));
    return await this.#model;
  }

  /** The tokenizer; an error names the model if it has none. */
  get tokenizer(): Tokenizer {
    if (this.#tokenizer) return this.#tokenizer;
    throw new DataError(
      `Cannot encode text for ${this.name}: the model must come with a tokenizer, or token ids must be given instead of text`,
    );
  }

  encode(text: string): readonly number[] {
    return this.tokenizer.encode(text);
  }

  tokenTexts(tokens: readonly number[]): readonly string[] {
    const stream = createTextStream(this.tokenizer, { skipSpecialTokens: true });
    return tokens.map((id) => stream.push(id));
  }

  async trace(tokens: readonly number[], options: TraceOptions = {}): Promise<Trace> {
    const { checkpoints = [], signal } = options;
    const lengths = [...new Set([...checkpoints, tokens.length])].sort((a, b) => a - b);
    const trace = await traceAttention(await this.load(), tokens, {
      checkpoints: lengths,
      ...(signal && { signal }),
    });
    return {
      heads: this.layers * this.queryHeads,
      checkpoints: lengths,
      accumulated: trace.checkpoints,
    };
  }

  async attentionRows(tokens: readonly number[], options: RowOptions): Promise<Float32Array> {
    return await attentionRows(await this.load(), tokens, options);
  }

  async capture(tokens: readonly number[], options: CaptureOptions): Promise<Capture> {
    const { heads = [], accumulated = false, logits = "none", signal } = options;
    const trace = await traceAttention(await this.load(), tokens, {
      heads,
      accumulated,
      logits,
      signal,
    });
    return {
      maps: trace.maps,
      ...(accumulated && { accumulated: trace.accumulated }),
      ...(logits !== "none" && { logits: trace.logits }),
    };
  }

  async realDrop(tokens: readonly number[], options: RealDropOptions): Promise<Float32Array> {
    const { firstTokens, kept, signal } = options;
    const key = `${firstTokens} ${tokens.join()}`;
    if (this.#drop?.key !== key) {
      this.#drop?.state[Symbol.dispose]();
      this.#drop = undefined;
      const state = await RealDrop.start(await this.load(), tokens, {
        firstTokens,
        ...(signal && { signal }),
      });
      this.#drop = { key, state };
    }
    return await this.#drop.state.rest(kept, signal);
  }

  /** Frees weights and what a real drop keeps. */
  [Symbol.dispose](): void {
    this.#drop?.state[Symbol.dispose]();
    this.#drop = undefined;
    this.#owned.dispose();
  }
}
