/**
 * State that the steps of a session run on: the store of kept tokens, recordings, the choice of tokens on the device.
 *
 * @module
 */

import type { Recording } from "../../gpu/device.ts";
import { DevicePlanner, plansOnDevice } from "../selection/planner.ts";
import type { PolicyStep } from "../selection/buffers.ts";
import type { StoreKind } from "../../cache/kv_store.ts";
import type { PolicyStore } from "./store.ts";
import {
  createRerotatedKeys,
  type RerotatedKeys,
  selectedStep,
} from "../selection/selected_attention.ts";
import { layersStep } from "../session/commands.ts";
import type { Session } from "../session/session.ts";
import { argmaxStep, logitsStep } from "../../models/forward/transformer.ts";

/** Made at the first step after a prefill; disposing it frees all but the store. */
export interface DecodeState extends Disposable {
  /** Store of kept tokens. */
  readonly store: PolicyStore;
  /** The large model's step. */
  readonly large: Recording;
  /** Room for keys at the positions of slots; absent where all positions are original. */
  readonly rerotated?: RerotatedKeys;
  /** Bytes of keys and values on the device, including rerotated keys. */
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
  const large = stack.use(await recordLargeStep(stored));
  const isOnDevice = !isPlannedOnHost && plansOnDevice(step.batch, kind);
  const planner = isOnDevice ? stack.use(await DevicePlanner.create(stored)) : undefined;
  const owned = stack.move();
  return {
    store,
    large,
    ...(rerotated && { rerotated }),
    deviceBytes: store.deviceBytes + (rerotated?.byteLength ?? 0),
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

/** Records the large model's step with attention to selected tokens, up to the choice of the next token. */
export async function recordLargeStep(step: PolicyStep): Promise<Recording> {
  const { forward, shape } = step;
  const rowShape = { sequences: shape.sequences, rowsPerSequence: 1 };
  const isFull = step.batch.settings.every(({ policy }) => policy.name === "full");
  const attention = (layer: number) => isFull ? {} : { attention: selectedStep(step, layer) };
  return await forward.device.record("large model's step", [
    ...layersStep(forward, rowShape, attention),
    ...logitsStep(forward, { rows: shape.sequences, rowStep: 1, rowOffset: 0 }),
    ...argmaxStep(forward, rowShape),
  ]);
}
