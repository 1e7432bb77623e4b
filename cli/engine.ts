/**
 * What commands need from models and devices; tests put fakes here.
 *
 * @module
 */

import type { AttentionMap } from "../analysis/attention_map.ts";
import type { Selection } from "../cache/policy.ts";
import type {
  DatasetName,
  ExperimentModel,
  ExperimentText,
  ForcedRequest,
  ForcedRun,
  GeneratedBatch,
  ModelRole,
} from "../experiments/experiment.ts";
import type { Environment } from "../experiments/runner/record.ts";

/** What one run over a text captures. */
export interface CaptureOptions {
  /** Heads whose maps are wanted, as [layer, head]; none if left out. */
  readonly heads?: readonly (readonly [layer: number, head: number])[];
  /** Whether accumulated attention is wanted. */
  readonly accumulated?: boolean;
  /** Rows whose logits are wanted; none if left out. */
  readonly logits?: "last" | "all";
  /** Ends the run. */
  readonly signal: AbortSignal;
}

/** What was captured. */
export interface Capture {
  /** Maps in the order asked for. */
  readonly maps: readonly AttentionMap[];
  /** Accumulated attention, [layers * queryHeads, tokens]. */
  readonly accumulated?: Float32Array;
  /** Logits, [rows, vocabulary]. */
  readonly logits?: Float32Array;
}

/** A model as commands see it. */
export interface EngineModel extends ExperimentModel {
  /** Runs the tokens and captures what was asked for. */
  capture(tokens: readonly number[], options: CaptureOptions): Promise<Capture>;
}

/** How an engine is opened. */
export interface EngineOptions {
  /** `auto`, `webgpu` or `reference`. */
  readonly device: string;
  /** Folder of the datasets; the default one if left out. */
  readonly dataFolder?: string;
  /** Told what is loaded, with the share that is done. */
  readonly onProgress?: (detail: string, share: number) => void;
}

/** A model and its helper. */
export interface EnginePair {
  /** Model whose cache is compressed. */
  readonly large: EngineModel;
  /** Its helper. */
  readonly small: EngineModel;
}

/** Decoding under policies. */
export interface EnginePolicies {
  /** Compares settings with the full cache on one text, step by step. */
  forced(
    pair: EnginePair,
    request: ForcedRequest,
    options: { readonly signal: AbortSignal },
  ): Promise<readonly ForcedRun[]>;
  /** Continues prompts greedily. */
  generated(
    pair: EnginePair,
    batch: GeneratedBatch,
    options: { readonly signal: AbortSignal },
  ): Promise<readonly (readonly number[])[]>;
  /** What each step of a text sees, [setting][step][unit]. */
  selections(
    pair: EnginePair,
    request: ForcedRequest,
    options: { readonly signal: AbortSignal },
  ): Promise<readonly (readonly (readonly Selection[])[])[]>;
}

/** A device with models. */
export interface Engine extends AsyncDisposable {
  /** Device and versions. */
  readonly environment: Environment;
  /**
   * Opens a model; its weights may be loaded on first use.
   *
   * @param role Which model of a pair; decides the default.
   * @param reference File, folder or `hf:` name; the embedded model of that role if left out.
   */
  openModel(role: ModelRole, reference?: string): Promise<EngineModel>;
  /** Texts of a dataset, at most `limit`. */
  texts(name: DatasetName, limit: number): Promise<readonly ExperimentText[]>;
  /** Modules that run models for traces; all that they import decides what a trace is. */
  readonly modules: readonly URL[];
  /** Runs pairs under policies. */
  readonly policies: EnginePolicies;
  /** Modules that do; all that they import decides what such a run gives. */
  readonly policyModules: readonly URL[];
}

/** Opens an engine. */
export type OpenEngine = (options: EngineOptions) => Promise<Engine>;
