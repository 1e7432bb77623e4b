/**
 * The parts of a block: the small model's drafts with their attention rows, and the large model's single pass over them.
 *
 * @see {@link https://arxiv.org/abs/2508.02751 | SmallKV}, which says that its small model may draft as well
 * @module
 */

import { PromiseCache } from "../../core/promise_cache.ts";
import type { Command, Device, DeviceBuffer, Recording } from "../../gpu/device.ts";
import { argmaxCommands, argmaxPartialBytes } from "../../kernels/argmax.ts";
import { selectedAttentionCommands } from "../../kernels/selected_attention.ts";
import { attentionShape, type ForwardState } from "../../models/forward/forward.ts";
import { logitsStep } from "../../models/forward/transformer.ts";
import { copyCommand, layersStep } from "../session/commands.ts";
import { scoreCommands, smallModelStep, smallRowsCommand } from "../scoring/small_model.ts";
import type { PolicyShape, PolicyStep } from "../selection/buffers.ts";
import type { BlockPlace, BlockSelection } from "./speculative_types.ts";
import { checkChosen, readLogits } from "../session/step_io.ts";
import type { RestOfBlock } from "./speculative_rest.ts";

/** Buffers that blocks add to those of a policy. */
interface BlockBuffers extends Disposable {
  /** The small model's row of each row of the block, f32 [rows, smallHeads, capacity]. */
  readonly rows: DeviceBuffer;
  /** Scores of each planned row, f32 [plans, groups, capacity]. */
  readonly saliency: DeviceBuffer;
  /** Scores of the heads while a block is tried, f32 [smallHeads, capacity]. */
  readonly trial: DeviceBuffer;
  /** Lists of each planned row, u32 [plans, groups, listWords]. */
  readonly lists: DeviceBuffer;
  /** 0, then the number of tokens before each row, u32 [1 + rows]. */
  readonly places: DeviceBuffer;
  /** The large model's choice after each row, u32 [rows]. */
  readonly choices: DeviceBuffer;
  /** Zeros, since choices have no place in a sequence, u32 [1 + rows]. */
  readonly zeros: DeviceBuffer;
  /** Scratch of the choice. */
  readonly best: DeviceBuffer;
}

/** Sizes of blocks. */
interface BlockShape {
  /** Sizes of the policy. */
  readonly policy: PolicyShape;
  /** Most rows of a block. */
  readonly rows: number;
  /** Selections of a block: 1, or one per row. */
  readonly plans: number;
}

/** Allocates the buffers of blocks, filled with zeros. */
export function createBlockBuffers(device: Device, shape: BlockShape): BlockBuffers {
  using stack = new DisposableStack();
  const { policy: { smallHeads, capacity, groups, listWords }, rows, plans } = shape;
  const words = (label: string, count: number) =>
    stack.use(device.createBuffer(`${label} of a block`, 4 * count));
  const buffers = {
    rows: words("small model rows", rows * smallHeads * capacity),
    saliency: words("saliency", plans * groups.total * capacity),
    trial: words("small model scores", plans > 1 ? smallHeads * capacity : 1),
    lists: words("kept tokens", plans * groups.total * listWords),
    places: words("places", 1 + rows),
    choices: words("choices", rows),
    zeros: words("zeros", 1 + rows),
    best: words("best logits", argmaxPartialBytes(rows) / 4),
  };
  const owned = stack.move();
  return { ...buffers, [Symbol.dispose]: () => owned.dispose() };
}

/** Both models and everything they write in a block. */
interface BlockStep {
  /** Small model with the buffers of the policy. */
  readonly smallModel: PolicyStep;
  /** Large model. */
  readonly large: ForwardState;
  /** Buffers of blocks. */
  readonly buffers: BlockBuffers;
  /** What rows attend to. */
  readonly block: BlockSelection;
  /** The rest under each row, where it counts. */
  readonly rest?: RestOfBlock;
}

/** Runs the small model on one token and keeps the attention rows of its heads. */
function draftForward({ smallModel }: BlockStep): Command[] {
  return smallModelStep(
    smallModel,
    (layer) => ({ hasOutput: true, observe: [smallRowsCommand(smallModel, layer)] }),
  );
}

/** After a step of the small model: chooses its next token, appends it to its sequence, and advances the sequence. */
function draftStep({ smallModel: { forward }, large }: BlockStep): Command[] {
  const { config, workspace } = forward;
  const { logits, best, tokens, state, strides, shape } = workspace;
  return [
    ...logitsStep(forward, { rows: 1, rowStep: 1, rowOffset: 0 }),
    // Tables may be padded to different sizes; the large model must know the proposed tokens.
    ...argmaxCommands({ logits, partial: best, tokens, state }, {
      sequences: 1,
      columns: Math.min(config.vocabulary, large.config.vocabulary),
      stride: strides.logits,
      capacity: shape.capacity,
      advance: 1,
    }),
  ];
}

/**
 * After a step of the small model, before its choice: keeps its attention rows as those of a row of the block, and scores
 * tokens by them.
 *
 * The first row belongs to a token that stays, so it enters the committed scores at once. Rows of drafts enter a copy,
 * and only if each row has its own plan.
 */
function keepStep({ smallModel, buffers, block }: BlockStep, row: number): Command[] {
  const { shape } = smallModel;
  const rowBytes = 4 * shape.smallHeads * shape.capacity;
  const saliencyBytes = 4 * shape.groups.total * shape.capacity;
  const commands: Command[] = [
    copyCommand(smallModel.buffers.rows, buffers.rows, rowBytes, { to: row * rowBytes }),
  ];
  if (row > 0 && block === "shared") return commands;
  if (row === 1) commands.push(copyCommand(smallModel.buffers.scores, buffers.trial, rowBytes));
  const scores = row === 0 ? smallModel.buffers.scores : buffers.trial;
  commands.push(
    ...scoreCommands(
      { ...smallModel, buffers: { ...smallModel.buffers, scores } },
      smallModel.forward,
    ),
    copyCommand(smallModel.buffers.saliency, buffers.saliency, saliencyBytes, {
      to: row * saliencyBytes,
    }),
  );
  return commands;
}

/**
 * Adds the attention rows of an accepted draft, a row of the block from 1, to the committed scores; the small model's
 * length must be that before it.
 */
function commitStep({ smallModel, buffers }: BlockStep, row: number): Command[] {
  const rowBytes = 4 * smallModel.shape.smallHeads * smallModel.shape.capacity;
  const [update] = scoreCommands(smallModel, smallModel.forward);
  const from = row * rowBytes;
  return [copyCommand(buffers.rows, smallModel.buffers.rows, rowBytes, { from }), update!];
}

/** Runs the large model over a block and chooses the token after each row, which `choices` receive. */
function verifyStep(step: BlockStep, rows: number): Command[] {
  const { smallModel, large, buffers } = step;
  const { config, workspace } = large;
  const { logits, strides } = workspace;
  const rowShape = { sequences: 1, rowsPerSequence: rows };
  const { tokens } = smallModel.forward.workspace;
  return [
    copyCommand(tokens, workspace.tokens, 4 * smallModel.shape.capacity),
    ...layersStep(large, rowShape, (layer) => ({ attention: attention(step, { layer, rows }) })),
    ...logitsStep(large, { rows, rowStep: 1, rowOffset: 0 }),
    ...argmaxCommands(
      { logits, partial: buffers.best, tokens: buffers.choices, state: buffers.zeros },
      {
        sequences: rows,
        columns: config.vocabulary,
        stride: strides.logits,
        capacity: 1,
        advance: 0,
      },
    ),
  ];
}

/**
 * Attention of a layer. With a shared selection the rows form one sequence, whose list ends with the block, and each sees
 * the block up to itself. With separate selections each row is a sequence of its own, whose list refers to the same cache.
 */
function attention(
  { smallModel: { shape }, large, buffers, block, rest }: BlockStep,
  { layer, rows }: { readonly layer: number; readonly rows: number },
): Command[] {
  const { device, workspace, cache } = large;
  const isShared = block === "shared";
  const rowShape = isShared
    ? { sequences: 1, rowsPerSequence: rows }
    : { sequences: rows, rowsPerSequence: 1 };
  const state = isShared ? workspace.state : buffers.places;
  const commands = selectedAttentionCommands(device.info, {
    shape: attentionShape(large, rowShape, layer),
    selection: {
      groupsPerLayer: shape.groups.perLayer,
      groupOffset: layer * shape.groups.perLayer,
      groups: shape.groups.total,
      listWords: shape.listWords,
      smallHeads: shape.smallHeads,
    },
    buffers: {
      state,
      qkv: workspace.queryKeyValue,
      ...cache.layers[layer]!,
      lists: buffers.lists,
      small_attention: buffers.rows,
      output: workspace.heads,
      attention: buffers.zeros,
      ...(workspace.partial && { partial: workspace.partial }),
      ...(rest && { rest: rest.means, partial: rest.partial }),
    },
    // As without drafts, where lists that are not split keep the order of their sums.
    ...(rest && !workspace.partial && { splits: 1 }),
  });
  const { lists } = buffers;
  return [...rest?.commands(layer, rows, { state, lists }) ?? [], ...commands];
}

/** The large model's verdict on a block. */
export interface Verification {
  /** Its choice after each row. */
  readonly choices: readonly number[];
  /** The tokens that were proposed, one fewer than rows. */
  readonly drafts: readonly number[];
  /** Logits after each row, [rows, vocabulary], if requested. */
  readonly logits?: Float32Array;
}

/** Runs blocks of one sequence. */
export class BlockRunner implements Disposable {
  readonly #step: BlockStep;
  readonly #device: Device;
  readonly #owned = new DisposableStack();
  readonly #recordings = new PromiseCache<string, Recording>();

  /** Records nothing yet: commands are recorded when a block first needs them. */
  constructor(step: BlockStep) {
    this.#step = step;
    this.#device = step.large.device;
  }

  /**
   * Runs the small model over a block.
   *
   * @param place Where the block is.
   * @param tokens The token before the block, followed by the proposed ones unless the small model drafts them.
   */
  async draft({ length, rows }: BlockPlace, tokens: readonly number[]): Promise<void> {
    const { workspace } = this.#step.smallModel.forward;
    const isGiven = tokens.length > 1;
    this.#device.write(workspace.tokens, 4 * length, Uint32Array.from(tokens));
    let pending: Recording[] = [];
    for (let row = 0; row < rows; row++) {
      if (row === 0 || isGiven) {
        this.#device.submit(...pending);
        pending = [];
        this.#setSmallModelLength(length + row);
      }
      pending.push(await this.#record("small model's step", () => draftForward(this.#step)));
      pending.push(await this.#record(`scores of row ${row}`, () => keepStep(this.#step, row)));
      if (isGiven || row === rows - 1) continue;
      pending.push(await this.#record("draft", () => draftStep(this.#step)));
    }
    this.#device.submit(...pending);
  }

  /** Reads the scores of the first rows, [list groups, capacity] each, by which their own plans are made. */
  async saliency(rows: number): Promise<Float32Array[]> {
    const { buffers, smallModel: { shape } } = this.#step;
    const size = shape.groups.total * shape.capacity;
    const all = new Float32Array(await this.#device.read(buffers.saliency, 0, 4 * size * rows));
    return Array.from({ length: rows }, (_, row) => all.subarray(row * size, (row + 1) * size));
  }

  /**
   * Runs the large model over a block.
   *
   * @param place Where the block is.
   * @param options Lists of each plan, [list groups, listWords]; whether logits are read.
   * @returns Choices and proposed tokens.
   * @throws {GpuError} If the logits of a choice were not finite.
   */
  async verify(
    { length, rows }: BlockPlace,
    options: { readonly lists: readonly Uint32Array<ArrayBuffer>[]; readonly logits: boolean },
  ): Promise<Verification> {
    const { buffers, large, rest, smallModel: { forward: { workspace } } } = this.#step;
    rest?.prepare(length);
    options.lists.forEach((lists, plan) =>
      this.#device.write(buffers.lists, plan * lists.byteLength, lists)
    );
    const places = Uint32Array.from({ length: 1 + rows }, (_, row) => row && length + row - 1);
    this.#device.write(buffers.places, 0, places);
    this.#device.write(large.workspace.state, 0, Uint32Array.of(0, length));
    const recording = this.#record(`check of ${rows} rows`, () => verifyStep(this.#step, rows));
    this.#device.submit(await recording);
    const drafts = 4 * (rows - 1);
    const [choices, proposed, logits] = await Promise.all([
      this.#device.read(buffers.choices, 0, 4 * rows),
      drafts > 0 ? this.#device.read(workspace.tokens, 4 * (length + 1), drafts) : undefined,
      options.logits ? readLogits(large, rows) : undefined,
    ]);
    return {
      choices: checkChosen(new Uint32Array(choices)),
      drafts: proposed ? checkChosen(new Uint32Array(proposed)) : [],
      ...(logits && { logits }),
    };
  }

  /**
   * Adds an accepted row to the committed scores, in which the first one is already, and to the sums of values; all rows
   * before it must be there.
   *
   * @param length Tokens before the block.
   * @param row Which row.
   */
  async commit(length: number, row: number): Promise<void> {
    const { rest } = this.#step;
    if (row === 0 && !rest) return;
    const recording = await this.#record(`commit of row ${row}`, () => [
      ...row === 0 ? [] : commitStep(this.#step, row),
      ...rest?.commitCommands(row) ?? [],
    ]);
    this.#setSmallModelLength(length + row);
    this.#device.submit(recording);
    rest?.committed(length + row + 1);
  }

  /** Frees the recordings. */
  [Symbol.dispose](): void {
    this.#owned.dispose();
  }

  #setSmallModelLength(length: number): void {
    const { workspace } = this.#step.smallModel.forward;
    this.#device.write(workspace.state, 0, Uint32Array.of(0, length));
  }

  #record(label: string, commands: () => readonly Command[]): Promise<Recording> {
    return this.#recordings.get(
      label,
      async () => this.#owned.use(await this.#device.record(label, commands())),
    );
  }
}
