/**
 * Submits the parts of blocks and reads what they leave behind.
 *
 * @module
 */

import type { Command, Device, Recording } from "../../gpu/device.ts";
import { checkChosen } from "../session/checks.ts";
import { readLogits } from "../session/logits.ts";
import {
  type BlockStep,
  commitStep,
  draftForward,
  draftStep,
  keepStep,
  verifyStep,
} from "./speculative_steps.ts";
import type { BlockPlace } from "./speculative_types.ts";

/** What the large model says of a block. */
export interface Verification {
  /** Its choice behind each row. */
  readonly choices: readonly number[];
  /** The tokens that were proposed, one fewer than rows. */
  readonly drafts: readonly number[];
  /** Logits behind each row, [rows, vocabulary], if asked for. */
  readonly logits?: Float32Array;
}

/** Runs blocks of one sequence. */
export class BlockRunner implements Disposable {
  readonly #step: BlockStep;
  readonly #device: Device;
  readonly #owned = new DisposableStack();
  readonly #recordings = new Map<string, Promise<Recording>>();

  /**
   * Records nothing yet; what a block needs is recorded when it first runs.
   *
   * @param step Models and buffers.
   */
  constructor(step: BlockStep) {
    this.#step = step;
    this.#device = step.large.device;
  }

  /**
   * Runs the small model over a block.
   *
   * @param place Where the block is.
   * @param tokens The token before the block, and the proposed ones if the small model is not to draft them.
   */
  async draft({ length, rows }: BlockPlace, tokens: readonly number[]): Promise<void> {
    const { workspace } = this.#step.helper.forward;
    const isGiven = tokens.length > 1;
    this.#device.write(workspace.tokens, 4 * length, Uint32Array.from(tokens));
    let pending: Recording[] = [];
    for (let row = 0; row < rows; row++) {
      if (row === 0 || isGiven) {
        this.#device.submit(...pending);
        pending = [];
        this.#setHelperLength(length + row);
      }
      pending.push(await this.#record("small model's step", () => draftForward(this.#step)));
      pending.push(await this.#record(`scores of row ${row}`, () => keepStep(this.#step, row)));
      if (isGiven || row === rows - 1) continue;
      pending.push(await this.#record("draft", () => draftStep(this.#step)));
    }
    this.#device.submit(...pending);
  }

  /**
   * Reads the scores of the rows that have a plan of their own.
   *
   * @param rows How many.
   * @returns Scores, [list units, capacity] of each row.
   */
  async saliency(rows: number): Promise<Float32Array[]> {
    const { buffers, helper: { shape } } = this.#step;
    const size = shape.units.total * shape.capacity;
    const all = new Float32Array(await this.#device.read(buffers.saliency, 0, 4 * size * rows));
    return Array.from({ length: rows }, (_, row) => all.subarray(row * size, (row + 1) * size));
  }

  /**
   * Runs the large model over a block.
   *
   * @param place Where the block is.
   * @param options Lists of each plan, [list units, listWords]; whether logits are read.
   * @returns Choices and proposed tokens.
   * @throws {GpuError} If the logits of a choice were not finite.
   */
  async verify(
    { length, rows }: BlockPlace,
    options: { readonly lists: readonly Uint32Array<ArrayBuffer>[]; readonly logits: boolean },
  ): Promise<Verification> {
    const { buffers, large, helper: { forward: { workspace } } } = this.#step;
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
   * Takes an accepted row into the committed scores; the first one is there already.
   *
   * @param length Tokens before the block.
   * @param row Which one; those before it must have been committed.
   */
  async commit(length: number, row: number): Promise<void> {
    if (row === 0) return;
    const recording = await this.#record(`commit of row ${row}`, () => commitStep(this.#step, row));
    this.#setHelperLength(length + row);
    this.#device.submit(recording);
  }

  /** Frees the recordings. */
  [Symbol.dispose](): void {
    this.#owned.dispose();
  }

  #setHelperLength(length: number): void {
    const { workspace } = this.#step.helper.forward;
    this.#device.write(workspace.state, 0, Uint32Array.of(0, length));
  }

  #record(label: string, commands: () => readonly Command[]): Promise<Recording> {
    const made = this.#recordings.get(label) ?? this.#device.record(label, commands())
      .then((recording) => this.#owned.use(recording));
    this.#recordings.set(label, made);
    return made;
  }
}
