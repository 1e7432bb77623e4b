/**
 * Loads a model: files, weights on a device, tokenizer.
 *
 * @module
 */

import { GpuError } from "../core/check.ts";
import type { Device } from "../gpu/device.ts";
import { openDevice } from "../gpu/open_device.ts";
import type { ModelConfig } from "./config.ts";
import { type ModelFiles, openModelFiles, type OpenOptions } from "./open.ts";
import { padHeads } from "./weights/heads.ts";
import { createTokenizer, sameVocabulary, type Tokenizer } from "./tokenizer/tokenizer.ts";
import { loadWeights, type ModelWeights } from "./weights/weights.ts";

/** How to load a model. */
export interface LoadOptions extends OpenOptions {
  /** Where it runs; what `openDevice()` chooses if left out: a GPU if there is one, else the processor. */
  readonly device?: Device;
  /** Called with the layers done and their number. */
  readonly onLayer?: (done: number, layers: number) => void;
  /**
   * Tokenizer of another model, which this one takes if its own has the same vocabulary, so that there is one of them.
   *
   * @internal
   */
  readonly knownTokenizer?: Tokenizer;
}

/** A model ready to run; closing it, at the end of `using` or by `close`, frees its weights, and its device if it opened one. */
export interface Model extends Disposable {
  /** Name for people. */
  readonly name: string;
  /** Cheap identity of the files, part of every cache key. */
  readonly hash: string;
  /** Sizes and switches. */
  readonly config: ModelConfig;
  /** Where it runs. */
  readonly device: Device;
  /**
   * Weights on the device.
   *
   * @internal
   */
  readonly weights: ModelWeights;
  /** Bytes of the tensors in the files. */
  readonly fileTensorBytes: number;
  /** Text to ids and back; absent if the files have no tokenizer. */
  readonly tokenizer?: Tokenizer;
  /** Tokenizer whose tokens it is given, if it reads their text in tokens of its own; see `withOwnTokens`. */
  readonly givenTokenizer?: Tokenizer;
  /** Jinja text of the chat template, if the files have one. */
  readonly chatTemplate?: string;
  /** Frees the weights, and the device if the model opened one; does nothing the second time. */
  close(): void;
}

/** Most weight bytes that the reference device accepts; with more, a single token takes minutes. */
const REFERENCE_BYTES = 64e6;

/**
 * Loads a model from a GGUF file, a safetensors file, a folder, or the Hugging Face hub.
 *
 * @example
 * ```ts ignore
 * using model = await loadModel("hf:Qwen/Qwen2.5-0.5B"); // or model.close() at the end
 * ```
 * @param reference Path of a file or folder, a URL, or `hf:ORG/NAME[@REVISION][/FILE]`.
 * @param options Device, progress, hub settings.
 * @returns The model.
 * @throws {DataError} If a file is missing, damaged or of an unknown architecture.
 * @throws {GpuError} If the device cannot hold the weights.
 */
export async function loadModel(reference: string, options: LoadOptions = {}): Promise<Model> {
  using stack = new DisposableStack();
  await using files = await openModelFiles(reference, options);
  const device = options.device ?? stack.use(await openDevice());
  const fileTensorBytes = tensorBytes(files);
  checkSize(files, device, fileTensorBytes);
  // Before the weights, so that what building it leaves behind is collected while they are read.
  const tokenizer = sharedTokenizer(tokenizerOf(files, options), options.knownTokenizer);
  const { config, source } = padHeads(files);
  const weights = stack.use(
    await loadWeights(
      { source, config, device },
      (done) => options.onLayer?.(done, config.layers),
    ),
  );
  const owned = stack.move();
  const close = () => owned.dispose();
  return {
    name: files.name,
    hash: files.hash,
    config,
    device,
    weights,
    fileTensorBytes,
    ...(tokenizer && { tokenizer }),
    ...(files.chatTemplate !== undefined && { chatTemplate: files.chatTemplate }),
    close,
    [Symbol.dispose]: close,
  };
}

/**
 * Builds the tokenizer of an open model.
 *
 * @returns The tokenizer; undefined if the model has none.
 * @throws {DataError} If its kind is not supported.
 */
export function tokenizerOf(
  files: Pick<ModelFiles, "name" | "config" | "tokenizer">,
  { onWarning }: Pick<OpenOptions, "onWarning"> = {},
): Tokenizer | undefined {
  const { tokenizer: parts } = files;
  for (const warning of parts?.warnings ?? []) onWarning?.(`${files.name}: ${warning}`);
  const tokenizer = parts && createTokenizer(parts);
  const { vocabulary: rows } = files.config;
  if (tokenizer !== undefined && tokenizer.vocabulary > rows) {
    onWarning?.(
      `${files.name}: the embedding has ${rows} rows, so texts with the tokenizer's tokens ${rows} to ${
        tokenizer.vocabulary - 1
      } cannot be read`,
    );
  }
  return tokenizer;
}

function sharedTokenizer(
  own: Tokenizer | undefined,
  known: Tokenizer | undefined,
): Tokenizer | undefined {
  return own && known && sameVocabulary(known, own) ? known : own;
}

function tensorBytes({ source }: ModelFiles): number {
  let bytes = 0;
  for (const tensor of source.tensors.values()) bytes += tensor.byteLength;
  return bytes;
}

function checkSize(files: ModelFiles, device: Device, bytes: number): void {
  if (device.info.backend !== "reference" || bytes <= REFERENCE_BYTES) return;
  throw new GpuError(
    `Cannot load ${files.name}: the reference device must have at most ${REFERENCE_BYTES} bytes of weights, larger models need the device cpu or webgpu: current value is ${bytes}`,
  );
}
