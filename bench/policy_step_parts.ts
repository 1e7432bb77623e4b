/**
 * Pieces of a decode step under a policy that can be run again and again at the same place of a text.
 *
 * @module
 */

import type { TierCounts } from "../cache/budget.ts";
import { DevicePlanner } from "../decoding/selection/planner.ts";
import { recordLargeStep } from "../decoding/engine/step.ts";
import { scoreCommands } from "../decoding/scoring/small_model.ts";
import { selectedStep } from "../decoding/selection/selected_attention.ts";
import type { Command, Device, DeviceBuffer, Recording } from "../gpu/device.ts";
import { decodeAttentionCommands } from "../kernels/flash_attention.ts";
import { attentionShape, type ForwardState } from "../models/forward/forward.ts";
import { argmaxStep, embeddingStep, layerStep, logitsStep } from "../models/forward/transformer.ts";
import { type BenchPair, setUpStep, type StepSetup, type StepSizes } from "./policy_step_setup.ts";

const STEP = { sequences: 1, rowsPerSequence: 1 };

interface StepRecordings {
  readonly full: Recording;
  readonly large: Recording;
  readonly scores: Recording;
  readonly attendAll: Recording;
  readonly attendKept: Recording;
  readonly attendFew: Recording;
}

/** The pieces. */
export class StepParts implements Disposable {
  /** Tokens of each tier that a KV head keeps. */
  readonly counts: TierCounts;
  readonly #setup: StepSetup;
  readonly #planner: DevicePlanner;
  readonly #recordings: StepRecordings;
  readonly #tokens: number;
  readonly #owned: DisposableStack;

  private constructor(
    setup: StepSetup,
    parts: { planner: DevicePlanner; recordings: StepRecordings; owned: DisposableStack },
    tokens: number,
  ) {
    this.#setup = setup;
    this.#planner = parts.planner;
    this.#recordings = parts.recordings;
    this.#owned = parts.owned;
    this.#tokens = tokens;
    this.counts = setup.planner.counts(tokens, 0);
  }

  /**
   * Prepares the pieces; lists hold a plan.
   *
   * @param pair Models.
   * @param sizes Tokens and budget.
   * @returns The pieces; disposing them frees all but the models.
   */
  static async create(pair: BenchPair, sizes: StepSizes): Promise<StepParts> {
    using stack = new DisposableStack();
    const setup = await setUpStep(pair, sizes, stack);
    const planner = stack.use(await DevicePlanner.create(setup.step));
    const recordings = await recordAll(setup, sizes, stack);
    const parts = new StepParts(setup, { planner, recordings, owned: stack.move() }, sizes.tokens);
    await parts.small();
    parts.planOnDevice();
    return parts;
  }

  /** Decode step of the large model with its full cache. */
  full(): void {
    this.#runLarge(this.#recordings.full);
  }

  /** Decode step of the large model under the policy. */
  large(): void {
    this.#runLarge(this.#recordings.large);
  }

  /** Decode step of the small model with its newest attention rows, the scores and their join. */
  async small(): Promise<void> {
    const { helper, step, large } = this.#setup;
    large.writeLengths();
    await helper.submit(step, large.forward);
  }

  /** The scores and their join alone. */
  scores(): void {
    this.#runLarge(this.#recordings.scores);
  }

  /** Choice of tokens on the device. */
  planOnDevice(): void {
    const { planner, large } = this.#setup;
    large.writeLengths();
    this.#planner.run([planner.tiers(this.#tokens)]);
  }

  /** Reads scores, chooses tokens, accounts for them and writes their lists, all on the host. */
  async planOnHost(): Promise<void> {
    const { planner, store, step: { forward: { device }, buffers, shape } } = this.#setup;
    const values = new Float32Array(await device.read(buffers.saliency));
    planner.plan(this.#tokens, { values, stride: shape.capacity });
    store.apply([planner.selections], [new Uint32Array(shape.heads)]);
  }

  /** Reads what the device has chosen and accounts for it. */
  async report(): Promise<void> {
    const { planner, store } = this.#setup;
    const [selections] = await this.#planner.read();
    planner.take(selections!, true);
    store.account([planner.selections]);
  }

  /** Reads one token, as every step does. */
  async readToken(): Promise<void> {
    await this.#setup.large.nextTokens();
  }

  /** Attention of all layers of the large model to all tokens. */
  attendAll(): void {
    this.#runLarge(this.#recordings.attendAll);
  }

  /** Attention of all layers to kept and marginal tokens. */
  attendKept(): void {
    this.#runLarge(this.#recordings.attendKept);
  }

  /** As `attendAll`, of a text with as many keys and values as are kept, which lie side by side. */
  attendFew(): void {
    this.#runLarge(this.#recordings.attendFew);
  }

  /** Frees everything but the models. */
  [Symbol.dispose](): void {
    this.#owned.dispose();
  }

  #runLarge(recording: Recording): void {
    const { large } = this.#setup;
    large.writeLengths();
    large.forward.device.submit(recording);
  }
}

async function recordAll(
  { step, large: { forward }, planner }: StepSetup,
  { tokens }: StepSizes,
  owner: DisposableStack,
): Promise<StepRecordings> {
  const { device, config: { layers } } = forward;
  const record = (commands: readonly Command[]) => recorded(device, commands, owner);
  const everyLayer = (commands: (layer: number) => Command[]) =>
    Array.from({ length: layers }, (_, layer) => commands(layer)).flat();
  const attend = (state: DeviceBuffer) =>
    record(everyLayer((layer) => attention(forward, { layer, state })));
  const { sink, recent, critical, marginal } = planner.counts(tokens, 0);
  const few = sink + recent + critical + Math.round(marginal / 2);
  const fewState = owner.use(device.createBuffer("a shorter text", 8));
  device.write(fewState, 0, Uint32Array.of(0, few - 1));
  return {
    full: await record([
      ...embeddingStep(forward, STEP),
      ...everyLayer((layer) => layerStep(forward, STEP, { layer })),
      ...logitsStep(forward, { rows: 1, rowStep: 1, rowOffset: 0 }),
      ...argmaxStep(forward, STEP),
    ]),
    large: owner.use(await recordLargeStep(step)),
    scores: await record(scoreCommands(step, forward)),
    attendAll: await attend(forward.workspace.state),
    attendKept: await record(everyLayer((layer) => selectedStep(step, layer))),
    attendFew: await attend(fewState),
  };
}

async function recorded(
  device: Device,
  commands: readonly Command[],
  owner: DisposableStack,
): Promise<Recording> {
  return owner.use(await device.record("part of a step", commands));
}

function attention(
  forward: ForwardState,
  { layer, state }: { readonly layer: number; readonly state: DeviceBuffer },
): Command[] {
  const { device, workspace, cache } = forward;
  return decodeAttentionCommands(device.info, {
    shape: attentionShape(forward, STEP, layer),
    buffers: {
      state,
      visible: state,
      qkv: workspace.queryKeyValue,
      ...cache.layers[layer]!,
      output: workspace.heads,
      log_sum: workspace.logSum,
      ...(workspace.partial && { partial: workspace.partial }),
    },
  });
}
