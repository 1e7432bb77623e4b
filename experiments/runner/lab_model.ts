/**
 * Models of a run: sizes and tokenizer at once, weights on the device when they are first run.
 *
 * @module
 */

import { DataError } from "../../core/check.ts";
import { PromiseCache } from "../../core/promise_cache.ts";
import { RealDrop } from "../../decoding/session/real_drop.ts";
import { attentionRows, traceAttention } from "../../decoding/session/trace.ts";
import type { Device } from "../../gpu/device.ts";
import { openModelFiles } from "../../models/open.ts";
import { loadModel, type Model, tokenizerOf } from "../../models/load.ts";
import { tokenTexts } from "../../models/tokenizer/token_texts.ts";
import type { TensorSource } from "../../models/weights/tensor_source.ts";
import { vocabularyHash } from "../../models/tokenizer/vocabulary_hash.ts";
import type { ExperimentModel } from "../experiment.ts";

/** Address of this module: all that it imports decides what models compute. */
export const MODEL_CODE = new URL(import.meta.url);

/** Where a model comes from and where it runs. */
export interface LabModelOptions {
  /** File, folder, address or `hf:` name. */
  readonly reference: string;
  /** Readable name; that of the files if left out. */
  readonly name?: string;
  /** Where it runs. */
  readonly device: Device;
  /** Told what is loaded, with the share that is done. */
  readonly onProgress?: (detail: string, share: number) => void;
  /** Called for every oddity of the files that does not keep the model from running. */
  readonly onWarning?: (warning: string) => void;
}

/**
 * Opens a model; its weights are loaded when it is first run.
 *
 * @param options Reference, device, progress.
 * @returns The model; disposing it frees its weights.
 * @throws {DataError} If a file is missing, damaged or of an unknown architecture.
 */
export async function openLabModel(
  options: LabModelOptions,
): Promise<ExperimentModel & Disposable> {
  const { reference, device, onProgress, onWarning } = options;
  const warn = { ...(onWarning && { onWarning }) };
  await using files = await openModelFiles(reference, warn);
  const name = options.name ?? files.name;
  const owned = new DisposableStack();
  const tokenizer = tokenizerOf(files, warn);
  const loaded = new PromiseCache<"model", Model>();
  let drop: { readonly key: string; readonly state: RealDrop } | undefined;
  const load = () =>
    loaded.get("model", async () => {
      const onLayer = (done: number, layers: number) =>
        onProgress?.(`loading ${name}`, done / layers);
      return { ...owned.use(await loadModel(reference, { device, onLayer })), name };
    });
  const needTokenizer = () => {
    if (tokenizer) return tokenizer;
    throw new DataError(
      `Cannot encode text for ${name}: the model must come with a tokenizer, or token ids must be given instead of text`,
    );
  };
  return {
    ...files.config,
    name,
    hash: files.hash,
    parametersByType: parametersByType(files.source),
    fileTensorBytes: [...files.source.tensors.values()]
      .reduce((sum, { byteLength }) => sum + byteLength, 0),
    ...(tokenizer && { tokenizerHash: vocabularyHash(tokenizer) }),
    load,
    encode: (text) => needTokenizer().encode(text),
    tokenTexts: (tokens) => tokenTexts(needTokenizer(), tokens),
    trace: async (tokens, more) => await traceAttention(await load(), tokens, more),
    attentionRows: async (tokens, more) => await attentionRows(await load(), tokens, more),
    async realDrop(tokens, { firstTokens, kept, signal }) {
      const key = `${firstTokens} ${tokens.join()}`;
      if (drop?.key !== key) {
        drop?.state[Symbol.dispose]();
        drop = undefined;
        const first = { firstTokens, ...(signal && { signal }) };
        drop = { key, state: await RealDrop.start(await load(), tokens, first) };
      }
      return await drop.state.rest(kept, signal);
    },
    [Symbol.dispose]() {
      drop?.state[Symbol.dispose]();
      drop = undefined;
      owned.dispose();
    },
  };
}

function parametersByType({ tensors }: TensorSource): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { type, storedType, shape } of tensors.values()) {
    const name = storedType === undefined ? type : `${storedType} as ${type}`;
    counts[name] = (counts[name] ?? 0) + shape.reduce((product, length) => product * length, 1);
  }
  return counts;
}
