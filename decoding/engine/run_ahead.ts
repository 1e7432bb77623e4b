/**
 * Decode steps that run before anybody takes their tokens: each reads the token that the one before it chose on the device,
 * so that one awaited read brings the tokens of many steps.
 *
 * @see docs/method.md, "Steps ahead"
 * @module
 */

import { GpuError } from "../../core/check.ts";
import type { DeviceBuffer, Recording } from "../../gpu/device.ts";
import { copyCommand } from "../session/commands.ts";
import { DRAFT_ROWS } from "../session/session.ts";
import { checkChosen } from "../session/step_io.ts";
import type { EngineParts } from "./parts.ts";
import type { DecodeState } from "./step.ts";

/** Steps that have run. */
interface StepsRun {
  /** Tokens that they chose, [steps][sequences]. */
  readonly chosen: readonly Uint32Array[];
  /** Puts back what was kept before the first of them, and after each, [1 + steps]. */
  readonly marks: readonly (() => void)[];
  /** Puts back which tokens were in the sums of values before the first of them. */
  readonly undoSums: (() => void) | undefined;
  /** What they ran on. */
  readonly state: DecodeState;
  /** How many have been taken. */
  taken: number;
}

/** Submits a step of both models without a read; lengths stay. */
export type SubmitStep = (state: DecodeState) => Promise<unknown>;

/**
 * Steps of a session that have run ahead. Disposing it frees the copies by which they are undone.
 *
 * Caches need no copy: what a step writes lies after the tokens that are taken, and is written again. What grows with each
 * step, the scores of the small model and the sums of values, is copied before the first one. Undoing puts that back and
 * runs the steps that were taken once more, which compute the same bits.
 */
export class RunAhead implements Disposable {
  readonly #parts: EngineParts;
  readonly #submit: SubmitStep;
  readonly #owned = new DisposableStack();
  #copies: { readonly save: Recording; readonly restore: Recording } | undefined;
  #isRefused = false;
  #run: StepsRun | undefined;

  /** Allocates nothing before steps run. */
  constructor(parts: EngineParts, submit: SubmitStep) {
    this.#parts = parts;
    this.#submit = submit;
  }

  /** Steps that have run and whose tokens nobody has taken. */
  get pending(): number {
    return this.#run ? this.#run.chosen.length - this.#run.taken : 0;
  }

  /**
   * Counts the steps that may run from here before a token is read, where every token that a step keeps follows from lengths
   * and from what is on the device.
   *
   * @param state What the steps run on.
   * @param most Most that are wanted.
   * @returns From 1, where one must be read after each step.
   */
  async steps({ store, planner }: DecodeState, most: number): Promise<number> {
    const { large, smallModel, sequences } = this.#parts;
    if (most <= 1 || this.#isRefused || store.needsPlan || smallModel?.needsSums) return 1;
    if (smallModel?.hasOwnTokens) return 1; // the host must know the text before each step
    if (!planner && (!sequences.planByLengths || this.#parts.batch.index)) return 1;
    const { capacity } = large.forward.workspace.shape;
    const steps = Math.min(
      most,
      DRAFT_ROWS,
      sequences.stepsUntilMatch,
      capacity - 1 - Math.max(...large.lengths),
    );
    return steps > 1 && await this.#hasCopies() ? steps : 1;
  }

  /**
   * Runs steps, and reads the tokens that they chose.
   *
   * @param state What they run on.
   * @param steps How many, at most as `steps` says.
   */
  async run(state: DecodeState, steps: number): Promise<void> {
    const { large, sequences, rest } = this.#parts;
    const { device, workspace: { shape: { capacity } } } = large.forward;
    const undoSums = rest?.mark();
    if (this.#copies) device.submit(this.#copies.save);
    const marks = [sequences.mark()];
    for (let step = 0; step < steps; step++) {
      await this.#step(state);
      marks.push(sequences.mark());
    }
    this.#shift(-steps);
    const tokens = await large.readTokens();
    const chosen = Array.from(
      { length: steps },
      (_, step) =>
        Uint32Array.from(
          large.lengths,
          (length, sequence) => tokens[sequence * capacity + length + step + 1]!,
        ),
    );
    this.#run = { chosen, marks, undoSums, state, taken: 0 };
  }

  /**
   * Takes the next step's tokens, which counts as having run it.
   *
   * @returns The token that each sequence continues with.
   * @throws {GpuError} If the logits of a choice were not finite.
   */
  async take(): Promise<number[]> {
    const run = this.#run!;
    const chosen = checkChosen(run.chosen[run.taken++]!);
    this.#parts.large.advance();
    await this.#parts.smallModel?.finish();
    if (this.pending === 0) this.#end(run);
    return chosen;
  }

  /** Undoes the steps whose tokens nobody has taken, so that everything is as if they had not run. */
  async undo(): Promise<void> {
    const run = this.#run;
    if (!run) return;
    const { large, smallModel, sequences, rest } = this.#parts;
    if (!smallModel && !rest && !run.state.ranking) {
      run.marks[run.taken]!();
      return this.#end(run);
    }
    run.marks[0]!();
    this.#shift(-run.taken);
    if (this.#copies) large.forward.device.submit(this.#copies.restore);
    run.undoSums?.();
    await run.state.ranking?.refresh(sequences.indexed());
    for (let step = 0; step < run.taken; step++) await this.#step(run.state);
    this.#end(run);
  }

  /** Frees the copies; steps that nobody has taken are forgotten. */
  [Symbol.dispose](): void {
    this.#run = undefined;
    this.#owned.dispose();
  }

  /** Runs a step; lengths then include it, except for what layers with a window are told. */
  async #step(state: DecodeState): Promise<void> {
    await this.#submit(state);
    this.#shift(1);
    this.#parts.sequences.planAfter({ smallModel: [], largeAttention: [] }, []);
  }

  #shift(steps: number): void {
    this.#parts.large.shift(steps);
    this.#parts.smallModel?.wholeSession.shift(steps);
  }

  /** The host's own choices count as moved once their steps have been taken; those of the device once they are read. */
  #end({ state: { store, planner } }: StepsRun): void {
    this.#run = undefined;
    if (!planner) store.account(this.#parts.sequences.selections);
  }

  /** Makes room for copies of what grows with each step; false where the device has too little memory. */
  async #hasCopies(): Promise<boolean> {
    const { large: { forward: { device } }, smallModel, buffers, rest } = this.#parts;
    const grown: DeviceBuffer[] = [
      ...smallModel ? [buffers.scores] : [],
      ...rest ? [rest.sums] : [],
    ];
    if (this.#copies || grown.length === 0) return true;
    using stack = new DisposableStack();
    try {
      const copies = grown.map((buffer) => ({
        buffer,
        copy: stack.use(
          device.createBuffer(`${buffer.label} before steps ahead`, buffer.byteLength),
        ),
      }));
      const commands = (isSaved: boolean) =>
        copies.map(({ buffer, copy }) =>
          isSaved
            ? copyCommand(buffer, copy, buffer.byteLength)
            : copyCommand(copy, buffer, buffer.byteLength)
        );
      this.#copies = {
        save: stack.use(await device.record("copies before steps ahead", commands(true))),
        restore: stack.use(await device.record("steps ahead undone", commands(false))),
      };
    } catch (error) {
      if (!(error instanceof GpuError && error.isOutOfMemory)) throw error;
      this.#isRefused = true;
      return false;
    }
    this.#owned.use(stack.move());
    return true;
  }
}
