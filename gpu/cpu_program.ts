/**
 * Turns commands into programs of the CPU device: steps and arguments in its memory.
 *
 * @module
 */

import { RequirementError } from "../core/check.ts";
import { boundWindows, completeConstants, isCopy, roundedParams } from "./commands.ts";
import type { CpuModule, CpuPass } from "./cpu_module.ts";
import { entryIndex, type Program } from "./cpu_threads.ts";
import type { ActivationBits, Command, DeviceBuffer } from "./device.ts";

/** Bytes of a step; see `kernels/run_program.as`. */
const STEP_BYTES = 16;

/** Work that one thread does faster than it can wake another. */
const SOLO_WORK = 1 << 15;

/** Parts of a step that a thread takes one after the other, so that a slow thread delays the rest little. */
const PARTS_PER_THREAD = 8;

/** A command with everything its passes need. */
export interface PlannedDispatch {
  /** Its passes. */
  readonly passes: readonly CpuPass[];
  /** Values of the fields of arguments, by name. */
  readonly values: Readonly<Record<string, number>>;
  /** Bytes that its passes share. */
  readonly scratchBytes: number;
  /** Bytes that each thread has to itself. */
  readonly threadBytes: number;
}

/**
 * Looks up what the passes of a command need.
 *
 * @param command A copy, or a dispatch of a kernel with code for the CPU.
 * @param options Address of a buffer, bits of activations.
 */
export function planDispatch(
  command: Command,
  { addressOf, activationBits }: {
    readonly addressOf: (buffer: DeviceBuffer) => number;
    readonly activationBits: ActivationBits;
  },
): PlannedDispatch {
  if (isCopy(command)) {
    const values = {
      source: addressOf(command.source) + command.sourceOffset,
      target: addressOf(command.target) + command.targetOffset,
      bytes: command.byteLength,
    };
    const passes = [{ entry: "copy_bytes", items: 1, work: 1 }];
    return { passes, values, scratchBytes: 0, threadBytes: 0 };
  }
  const { kernel, grid } = command;
  const code = kernel.cpu!;
  const constants = completeConstants(kernel, command.constants);
  const params = roundedParams(kernel, command.params);
  const run = { constants, params, grid, activationBits };
  const windows = boundWindows(command).map(({ name, buffer, byteOffset }) =>
    [name, addressOf(buffer) + byteOffset] as const
  );
  return {
    passes: code.passes(run),
    values: { ...code.extras, ...constants, ...params, ...Object.fromEntries(windows) },
    scratchBytes: roundUp(code.scratchBytes?.(run) ?? 0),
    threadBytes: roundUp(code.threadBytes?.(run) ?? 0),
  };
}

/** Writes the steps and arguments of a recording; all of its dispatches use the same scratch memory. */
export class ProgramWriter {
  /** Bytes of scratch memory. */
  readonly scratchBytes: number;
  /** What is written: steps and arguments. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly #entries: CpuModule["entries"];
  readonly #threads: number;
  readonly #words: Uint32Array<ArrayBuffer>;
  readonly #floats: Float32Array<ArrayBuffer>;
  readonly #argsStart: number;
  readonly #sharedBytes: number;
  #address = 0;
  #scratch = 0;
  #stepWords = 0;
  #programStart = 0;
  #argsEnd: number;

  /**
   * Measures what is to be written.
   *
   * @param planned Every command that runs as code.
   * @param options Code and threads of the device.
   */
  constructor(
    planned: readonly PlannedDispatch[],
    options: { readonly entries: CpuModule["entries"]; readonly threads: number },
  ) {
    this.#entries = options.entries;
    this.#threads = options.threads;
    let steps = 0;
    let words = 0;
    for (const { passes } of planned) {
      steps += passes.length;
      for (const { entry } of passes) words += Object.keys(this.#fields(entry)).length;
    }
    this.#sharedBytes = Math.max(0, ...planned.map(({ scratchBytes }) => scratchBytes));
    const threadBytes = Math.max(0, ...planned.map(({ threadBytes }) => threadBytes));
    this.#argsStart = steps * STEP_BYTES / 4;
    this.#argsEnd = this.#argsStart;
    this.bytes = new Uint8Array(Math.max(64, roundUp(4 * (this.#argsStart + words))));
    this.#words = new Uint32Array(this.bytes.buffer);
    this.#floats = new Float32Array(this.bytes.buffer);
    this.scratchBytes = this.#sharedBytes + threadBytes * this.#threads;
  }

  /** Says where in memory steps and arguments will lie, and the scratch memory. */
  place(address: number, scratch: number): void {
    this.#address = address;
    this.#scratch = scratch;
  }

  /** Writes the steps of a command. */
  add({ passes, values, threadBytes }: PlannedDispatch): void {
    const all: Readonly<Record<string, number>> = {
      ...values,
      scratch: this.#scratch,
      thread_scratch: this.#scratch + this.#sharedBytes,
      thread_bytes: threadBytes,
    };
    for (const { entry, items, work, values: own } of passes) {
      const args = this.#address + 4 * this.#argsEnd;
      for (const [name, type] of Object.entries(this.#fields(entry))) {
        const value = own?.[name] ?? all[name];
        if (value === undefined) throw missingField(entry, name);
        if (type === "f32") this.#floats[this.#argsEnd++] = value;
        else this.#words[this.#argsEnd++] = value;
      }
      const step = [entryIndex(this.#entries, entry), args, items, this.#grain(items, work)];
      this.#words.set(step, this.#stepWords);
      this.#stepWords += step.length;
    }
  }

  /** Ends a program; returns none if it would be empty. */
  takeProgram(): Program[] {
    const steps = (this.#stepWords - this.#programStart) / (STEP_BYTES / 4);
    const address = this.#address + 4 * this.#programStart;
    this.#programStart = this.#stepWords;
    return steps === 0 ? [] : [{ address, steps }];
  }

  /** Items that a thread takes at a time; all of them where waking another thread does not pay. */
  #grain(items: number, work: number): number {
    if (items * work <= 4 * SOLO_WORK) return items;
    const share = Math.ceil(items / (this.#threads * PARTS_PER_THREAD));
    return Math.max(Math.ceil(SOLO_WORK / work / 4), share);
  }

  #fields(entry: string): CpuModule["entries"][string] {
    const fields = this.#entries[entry];
    if (fields !== undefined) return fields;
    throw new RequirementError({
      action: "record",
      requirement: "passes must name entries of the code",
      current: entry,
    });
  }
}

function missingField(entry: string, name: string): RequirementError {
  return new RequirementError({
    action: `record ${entry}`,
    requirement: "fields of its arguments must be bindings, parameters, constants or extras",
    current: name,
  });
}

/** Rounds bytes up to whole cache lines. */
function roundUp(bytes: number): number {
  return Math.ceil(bytes / 64) * 64;
}
