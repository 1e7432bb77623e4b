/**
 * Everything that the page and the engine in its worker say to each other.
 *
 * @module
 */

import type { StoreKind } from "../cache/kv_store.ts";
import type { OptionName, PolicyOptions } from "../cache/options.ts";
import type { HeadPlace } from "../analysis/attention_map.ts";
import type { HeadComparison } from "../decoding/scoring/compare_heads.ts";
import type { Backend } from "../gpu/device.ts";
import type { MapView } from "../views/attention_map.tsx";
import type { TokenView } from "../views/token_text.tsx";

/**
 * Which models to open: the pair that comes with the page, models of the hub that are in the browser's storage, or files that
 * were dropped.
 */
export type PairSource =
  | { readonly kind: "embedded"; readonly address: string }
  | { readonly kind: "hub"; readonly large: string; readonly small?: string }
  | {
    readonly kind: "files";
    readonly large: readonly DroppedFile[];
    readonly small?: readonly DroppedFile[];
  };

/** A file that was dropped. */
export interface DroppedFile {
  /** Path below what was dropped, with slashes between names. */
  readonly path: string;
  /** The file. */
  readonly file: File;
}

/** Back ends that a page may have: Dawn is a library of this machine. */
export const PAGE_BACKENDS = ["webgpu", "cpu", "reference"] as const satisfies readonly Backend[];

/** Where to compute. */
export type BackendChoice = "auto" | typeof PAGE_BACKENDS[number];

/** What every step of a policy reads: the text that it wrote itself, or what the full cache wrote. */
export type ReadText = "own" | "full";

/** A run: one prompt under the full cache and up to three policies. */
export interface RunRequest {
  /** Text to continue. */
  readonly prompt: string;
  /** Policies next to the full cache. */
  readonly policies: readonly string[];
  /** Options of these policies that differ from the usual ones, by policy. */
  readonly options: Readonly<Record<string, PolicyOptions>>;
  /** Where tokens that may return wait: on the host, or on the device after all, so that bytes are only counted. */
  readonly store: StoreKind;
  /** Share of the full cache that they may keep. */
  readonly budget: number;
  /** What each step reads. */
  readonly reads: ReadText;
  /** Most new tokens. */
  readonly newTokens: number;
}

/** What the page asks for; `run` tells runs apart, and what belongs to an earlier one is ignored. */
export type ToEngine =
  | { readonly kind: "open"; readonly source: PairSource; readonly backend: BackendChoice }
  | { readonly kind: "start"; readonly run: number; readonly request: RunRequest }
  | { readonly kind: "step"; readonly run: number; readonly wanted: readonly WantedSteps[] }
  | { readonly kind: "match"; readonly run: number }
  | { readonly kind: "attend"; readonly run: number; readonly wanted: readonly WantedSteps[] }
  | { readonly kind: "map"; readonly run: number; readonly head: HeadPlace }
  | { readonly kind: "extract"; readonly run: number; readonly head?: HeadPlace };

/** Steps of a track whose received attention is wanted. */
export interface WantedSteps {
  /** The track. */
  readonly track: number;
  /** First of the steps. */
  readonly from: number;
}

/** Attention that tokens have received by some steps, with everything kept. */
export interface ReceivedSteps extends WantedSteps {
  /** From step `from` on, mean over the query heads of a KV head, [layers * KV heads, seen] each. */
  readonly steps: readonly Float32Array<ArrayBuffer>[];
}

/** Sizes of a model. */
export interface ModelFacts {
  /** Name of its file or folder. */
  readonly name: string;
  /** What the library takes where the files are: a file, or a folder. */
  readonly file: string;
  /** Layers. */
  readonly layers: number;
  /** Query heads per layer. */
  readonly queryHeads: number;
  /** KV heads per layer. */
  readonly kvHeads: number;
}

/** A text to begin with. */
export interface Example {
  /** What the model must do. */
  readonly title: string;
  /** The text. */
  readonly prompt: string;
}

/** A policy to choose. */
export interface PolicyFacts {
  /** Name. */
  readonly name: string;
  /** What it keeps, in a few words. */
  readonly summary: string;
  /** Whether it needs the small model. */
  readonly usesSmall: boolean;
  /** Whether dropped tokens may return, so that the host keeps them. */
  readonly mayReturn: boolean;
  /** Options that it can be given. */
  readonly options: readonly OptionName[];
}

/** An open pair. */
export interface PairFacts {
  /** Whether it is the pair that comes with the page. */
  readonly isEmbedded: boolean;
  /** The model whose cache is compressed. */
  readonly large: ModelFacts;
  /** The model that guides it, if there is one. */
  readonly small?: ModelFacts;
  /** Where it runs: back end and threads. */
  readonly device: string;
  /** Longest text in tokens. */
  readonly contextLength: number;
  /** Texts to begin with. */
  readonly examples: readonly Example[];
  /** Policies that can be chosen with this pair. */
  readonly policies: readonly PolicyFacts[];
}

/** A token as it is shown. */
export type ShownToken = Pick<TokenView, "id" | "text">;

/** What one policy did in one step; step 0 is the prompt, after which nothing has been dropped yet. */
export interface TrackStep {
  /** The token that it continues with. */
  readonly next: ShownToken;
  /** Whether that token ends the text. */
  readonly isEnd: boolean;
  /** Divergence from the full cache in nats; absent once the texts before it differ. */
  readonly kl?: number;
  /** Tokens that the step's attention could have seen. */
  readonly seen: number;
  /** Tier of each of these tokens as a number of `TIER`, [layers * KV heads, seen]; absent at step 0. */
  readonly tiers?: Uint8Array<ArrayBuffer>;
  /** Duration. */
  readonly milliseconds: number;
  /** Bytes of keys and values that the large model keeps on the device. */
  readonly deviceBytes: number;
  /** Bytes of keys and values that the small model keeps, where the policy reads it. */
  readonly smallBytes: number;
  /** Bytes on the host, from which dropped tokens can return. */
  readonly hostBytes: number;
  /** Bytes that the step brought from the host to the device. */
  readonly movedBytes: number;
}

/** What the engine tells. */
export type FromEngine =
  | { readonly kind: "progress"; readonly stage: string; readonly share?: number }
  | { readonly kind: "opened"; readonly pair: PairFacts }
  | {
    readonly kind: "started";
    readonly run: number;
    readonly prompt: readonly ShownToken[];
    /** One step 0 for each track: the full cache, then the policies. */
    readonly first: readonly TrackStep[];
  }
  | {
    readonly kind: "stepped";
    readonly run: number;
    /** One for each track; absent where the text has ended. */
    readonly steps: readonly (TrackStep | undefined)[];
    /** Attention that was wanted of them; none where it could not be computed, which asking for it alone explains. */
    readonly received: readonly ReceivedSteps[];
    /** Whether nothing is left to do. */
    readonly isDone: boolean;
  }
  | { readonly kind: "matched"; readonly run: number; readonly comparison: HeadComparison }
  | { readonly kind: "attended"; readonly run: number; readonly received: readonly ReceivedSteps[] }
  | { readonly kind: "mapped"; readonly run: number; readonly map: MapView }
  | {
    readonly kind: "extracted";
    readonly run: number;
    /** A safetensors file. */
    readonly bytes: Uint8Array<ArrayBuffer>;
  }
  | {
    readonly kind: "failed";
    /** What was asked for. */
    readonly request: ToEngine["kind"];
    /** The run, if it belongs to one. */
    readonly run?: number;
    /** The run that can still be continued, if there is one. */
    readonly openRun?: number;
    /** A sentence for the user. */
    readonly message: string;
  };

/** A model of the hub in the browser's storage, whole or in part. */
export interface StoredModel {
  /** Under which name it was asked for, `hf:ORG/NAME[@REVISION][/FILE]`. */
  readonly reference: string;
  /** The commit that it was fetched from. */
  readonly commit: string;
  /** Bytes of all its files. */
  readonly byteLength: number;
  /** Bytes that have arrived. */
  readonly heldBytes: number;
  /** Whether all files are there and were checked; only then can it be opened. */
  readonly isWhole: boolean;
}

/** What the page asks the worker that fetches and keeps models for. */
export type ToStore =
  | { readonly kind: "list" }
  | { readonly kind: "fetch"; readonly references: readonly string[]; readonly hub: string }
  | { readonly kind: "stop" }
  | { readonly kind: "remove"; readonly reference: string };

/** How far a model of the hub is. */
export interface FetchProgress {
  /** The model. */
  readonly reference: string;
  /** Whether the hub is asked for its files, they are fetched, or what has arrived is compared with their hashes. */
  readonly stage: "asking" | "fetching" | "checking";
  /** Bytes that have arrived, those of earlier attempts included. */
  readonly doneBytes: number;
  /** Bytes of all its files; 0 until the hub has told. */
  readonly totalBytes: number;
  /** Speed over the last seconds; absent until there is one. */
  readonly bytesPerSecond?: number;
}

/** What that worker tells. */
export type FromStore =
  | { readonly kind: "stored"; readonly models: readonly StoredModel[] }
  | { readonly kind: "fetching"; readonly progress: FetchProgress }
  | { readonly kind: "fetched"; readonly references: readonly string[] }
  | { readonly kind: "stopped" }
  | { readonly kind: "storeFailed"; readonly message: string };

/** Most policies next to the full cache. */
export const MAX_POLICIES = 3;

/** Longest text of which whole attention maps are shown. */
export const MAX_MAP_TOKENS = 64;
