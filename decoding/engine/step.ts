/**
 * State that the steps of a session run on: the store of kept tokens, recordings, the choice of tokens on the device.
 *
 * @module
 */

import type { DeviceBuffer, Recording } from "../../gpu/device.ts";
import { DevicePlanner, plansOnDevice } from "../selection/planner.ts";
import type { PolicyStep } from "../selection/buffers.ts";
import type { LayerRanking } from "../selection/layer_ranking.ts";
import type { StoreKind } from "../../cache/kv_store.ts";
import type { PolicyStore } from "./store.ts";
import {
  createRerotatedKeys,
  type RerotatedKeys,
  selectedStep,
} from "../selection/selected_attention.ts";
import { layerWindows } from "../../models/layer_windows.ts";
import { layersStep } from "../session/commands.ts";
import type { Session } from "../session/session.ts";
import {
  argmaxStep,
  attentionStep,
  embeddingStep,
  logitsStep,
  outputStep,
  projectionStep,
} from "../../models/forward/transformer.ts";

/** Made at the first step after a prefill; disposing it frees all but the store. */
export interface DecodeState extends Disposable {
  /** Store of kept tokens. */
  readonly store: PolicyStore;
  /**
   * The large model's step, to be submitted in order. Where the host plans each layer by its own queries, a recording ends
   * before the attention of each layer, whose lists are written then; otherwise there is one.
   */
  readonly large: readonly Recording[];
  /** What ranks tokens within each layer; absent where they are ranked in another way. */
  readonly ranking?: LayerRanking;
  /** Room for keys at the positions of slots; absent where all positions are original. */
  readonly rerotated?: RerotatedKeys;
  /** Bytes of keys and values on the device, including rerotated keys, an index of keys, sums of values and their means. */
  readonly deviceBytes: number;
  /** Present if tokens are chosen on the device. */
  readonly planner?: DevicePlanner;
}

/**
 * Records the large model's step on a store.
 *
 * @param store Store of kept tokens.
 * @param step Buffers, sizes and sequences of the policies.
 * @param options Kind of the store; whether the host chooses tokens even where the device could.
 * @throws {GpuError} If the device has too little memory.
 */
export async function startDecoding(
  store: PolicyStore,
  step: Omit<PolicyStep, "forward">,
  options: { readonly kind: StoreKind; readonly isPlannedOnHost: boolean },
): Promise<DecodeState> {
  const { kind, isPlannedOnHost } = options;
  using stack = new DisposableStack();
  const models = { ...step, forward: store.forward };
  const rerotated = stack.use(createRerotatedKeys(models));
  const stored = { ...models, ...(rerotated && { rerotated }) };
  const isOnDevice = !isPlannedOnHost && plansOnDevice(step.batch, kind);
  const planner = isOnDevice ? stack.use(await DevicePlanner.create(stored)) : undefined;
  const { ranking } = step;
  const large = ranking && !planner
    ? await recordLayers({ ...stored, ranking })
    : [await recordLargeStep(stored, planner?.budgets)];
  for (const recording of large) stack.use(recording);
  const owned = stack.move();
  return {
    store,
    large,
    ...(rerotated && { rerotated }),
    ...(ranking && { ranking }),
    deviceBytes: store.deviceBytes + (rerotated?.byteLength ?? 0) + (ranking?.byteLength ?? 0) +
      (step.rest?.byteLength ?? 0),
    ...(planner && { planner }),
    [Symbol.dispose]: () => owned.dispose(),
  };
}

/**
 * Restores the complete cache from its store, as a further prefill needs it, and frees the store.
 *
 * @throws {GpuError} If the device has too little memory for it; the store then stays as it is.
 */
export async function restoreFullCache(session: Session, store: PolicyStore): Promise<void> {
  const cache = await store.restore();
  if (cache !== session.forward.cache) session.takeCache(cache);
  store[Symbol.dispose]();
}

/**
 * Records the large model's step with attention to selected tokens, up to the choice of the next token.
 *
 * @param step Model, buffers, sequences.
 * @param budgets Tokens of each tier, where the layers rank tokens and the device chooses them.
 */
export async function recordLargeStep(
  step: PolicyStep,
  budgets?: DeviceBuffer,
): Promise<Recording> {
  const { forward, shape, ranking } = step;
  const rowShape = { sequences: shape.sequences, rowsPerSequence: 1 };
  const isFull = step.batch.settings.every(({ policy }) => policy.name === "full");
  // Windows go by positions, at which pools do not hold their tokens.
  const hasPools = forward.cache.layers.some(({ write }) => write !== undefined);
  const hasWindows = layerWindows(forward.config).some((window) => window !== undefined);
  const isPlain = isFull && !(hasPools && hasWindows);
  const ranked = (layer: number) =>
    ranking && budgets ? ranking.commands(forward, layer, budgets) : [];
  const attention = (layer: number) =>
    isPlain ? {} : { attention: [...ranked(layer), ...selectedStep(step, layer)] };
  return await forward.device.record("large model's step", [
    ...layersStep(forward, rowShape, attention),
    ...logitsStep(forward, { rows: shape.sequences, rowStep: 1, rowOffset: 0 }),
    ...argmaxStep(forward, rowShape),
  ]);
}

/**
 * Records the large model's step in parts, each of which ends when the scores of a layer are known; the lists of the layer
 * must be written before the next part.
 */
async function recordLayers(
  step: PolicyStep & { readonly ranking: LayerRanking },
): Promise<Recording[]> {
  const { forward, shape: { sequences }, ranking } = step;
  const { device, config: { layers } } = forward;
  const rowShape = { sequences, rowsPerSequence: 1 };
  const recordings: Recording[] = [];
  let commands = embeddingStep(forward, rowShape);
  try {
    for (let layer = 0; layer < layers; layer++) {
      const attention = ranking.commands(forward, layer);
      commands.push(
        ...projectionStep(forward, layer, sequences),
        ...attentionStep(forward, rowShape, { layer, attention }),
      );
      recordings.push(await device.record(`large model's step up to layer ${layer}`, commands));
      commands = [...selectedStep(step, layer), ...outputStep(forward, layer, sequences)];
    }
    commands.push(
      ...logitsStep(forward, { rows: sequences, rowStep: 1, rowOffset: 0 }),
      ...argmaxStep(forward, rowShape),
    );
    recordings.push(await device.record("end of the large model's step", commands));
    return recordings;
  } catch (error) {
    for (const recording of recordings) recording[Symbol.dispose]();
    throw error;
  }
}
