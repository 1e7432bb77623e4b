/**
 * Runs programs of WebAssembly code, in workers that share a memory or in the calling thread.
 *
 * @module
 */

import { GpuError } from "../core/check.ts";
import type { CpuMemory } from "./cpu_memory.ts";
import type { CpuModule } from "./cpu_module.ts";

/** Steps of a recording in memory: the address of the first, and their number. */
export interface Program {
  /** Address of the first step; see `kernels/run_program.as`. */
  readonly address: number;
  /** Number of steps. */
  readonly steps: number;
}

/** Threads that run programs. */
export interface CpuThreads extends Disposable {
  /** How many compute at the same time. */
  readonly count: number;
  /** Runs programs one after the other; a promise if other threads do it. */
  run(programs: readonly Program[]): void | Promise<void>;
}

/** Bytes of the control block, and where its parts are; see `kernels/run_program.as`. */
const CONTROL_BYTES = 4096;
const SUBMITTED = 0;
const FINISHED = 4;
const STOP = 8;
const PROGRAMS = 12;
const STATE = 20;
const PROGRAM_LIST = 64;

/** Most programs of one job. */
export const MAX_PROGRAMS = (CONTROL_BYTES - PROGRAM_LIST) / 8;

/** What the code exports besides its entries. */
interface Exports {
  run_job(control: number, threads: number): void;
  lead(control: number, threads: number): void;
  follow(control: number, thread: number): void;
}

/** What every thread needs to call the code. */
interface Code {
  readonly modules: readonly WebAssembly.Module[];
  readonly memory: WebAssembly.Memory;
  /** Names of exports by their index in the table. */
  readonly entries: readonly string[];
}

/** What a worker needs besides. */
interface WorkerStart extends Code {
  readonly control: number;
  readonly thread: number;
  readonly threads: number;
}

/**
 * Finds an entry in the table that programs call through.
 *
 * @returns Its index; the compiler may use those before the first.
 */
export function entryIndex(entries: CpuModule["entries"], entry: string): number {
  return TABLE_START + Object.keys(entries).indexOf(entry);
}

const TABLE_START = 64;

/**
 * Starts threads.
 *
 * @param modules Their code; the first has what runs programs.
 * @param memory What they share.
 * @param count Workers; 0 lets the calling thread compute.
 * @throws {GpuError} If a worker cannot start.
 */
export async function startThreads(
  modules: readonly CpuModule[],
  memory: CpuMemory,
  count: number,
): Promise<CpuThreads> {
  const control = memory.allocate(CONTROL_BYTES);
  if (control === undefined) {
    throw new GpuError(`Cannot start threads: ${CONTROL_BYTES} bytes must be free`, {
      isOutOfMemory: true,
    });
  }
  const isShared = !(memory.memory.buffer instanceof ArrayBuffer);
  const compiled = await Promise.all(modules.map(({ base64 }) => {
    const binary = Uint8Array.fromBase64(base64);
    return WebAssembly.compile(isShared ? binary : withoutSharing(binary));
  }));
  const entries = tableEntries(Object.keys(allEntries(modules)));
  const code = { modules: compiled, memory: memory.memory, entries };
  if (count === 0) {
    const exports = await instantiate(code);
    return {
      count: 1,
      run(programs) {
        writePrograms(memory, control, programs);
        exports.run_job(control, 1);
      },
      [Symbol.dispose]() {},
    };
  }
  return await WorkerPool.start(code, { memory, control, threads: count });
}

/** Entries of all modules, in the order of the table. */
export function allEntries(modules: readonly CpuModule[]): CpuModule["entries"] {
  return Object.assign({}, ...modules.map(({ entries }) => entries));
}

function tableEntries(names: readonly string[]): string[] {
  return [...Array<string>(TABLE_START).fill(""), ...names];
}

/** Makes instances of the code; its text also runs in workers, so it calls nothing of this module. */
async function instantiate({ modules, memory, entries }: Code): Promise<Exports> {
  const table = new WebAssembly.Table({ initial: entries.length, element: "anyfunc" });
  const exports: WebAssembly.Exports = {};
  for (const module of modules) {
    const instance = await WebAssembly.instantiate(module, { env: { memory, table } });
    Object.assign(exports, instance.exports);
  }
  for (const [index, name] of entries.entries()) {
    if (name !== "") table.set(index, exports[name] as () => void);
  }
  return exports as unknown as Exports;
}

/** What a worker runs; only its text reaches the worker, so it calls nothing of this module. */
async function runThread(
  instantiateCode: typeof instantiate,
  start: WorkerStart,
  tell: (message: ThreadMessage) => void,
): Promise<void> {
  try {
    const { lead, follow } = await instantiateCode(start);
    tell({});
    if (start.thread === 0) lead(start.control, start.threads);
    else follow(start.control, start.thread);
  } catch (error) {
    tell({ failure: String(error) });
  }
}

/** What a thread tells: that it waits for work, or why it has ended. */
interface ThreadMessage {
  readonly failure?: string;
}

/** A thread, however this runtime starts one. */
interface Thread {
  /** Ends it at once. */
  terminate(): void;
  /** Lets the process wait for it, or end without it. */
  ref?(): void;
  unref?(): void;
}

/** The part of `node:worker_threads` that is used. */
interface NodeThreads {
  readonly Worker: new (
    text: string,
    options: { readonly eval: true; readonly workerData: WorkerStart },
  ) => Thread & {
    on(event: "message", listener: (message: ThreadMessage) => void): void;
    on(event: "error", listener: (error: Error) => void): void;
    on(event: "exit", listener: () => void): void;
  };
}

/** Starts a thread. Deno's own workers keep a process alive as long as they are; those of Node.js need not. */
function startThread(start: WorkerStart, listener: (message: ThreadMessage) => void): Thread {
  const threads = nodeThreads();
  if (threads !== undefined) {
    const text =
      `const { parentPort, workerData } = process.getBuiltinModule("node:worker_threads");
(${runThread})(${instantiate}, workerData, (message) => parentPort.postMessage(message));`;
    const thread = new threads.Worker(text, { eval: true, workerData: start });
    thread.on("message", listener);
    thread.on("error", ({ message }) => listener({ failure: message }));
    thread.on("exit", () => listener({ failure: "it has ended" }));
    return thread;
  }
  const text = `onmessage = ({ data }) =>
  (${runThread})(${instantiate}, data, (message) => postMessage(message)).then(close);`;
  const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  const thread = new Worker(url, { type: "module", name: `smallkv ${start.thread}` });
  thread.onmessage = ({ data }) => {
    URL.revokeObjectURL(url);
    listener(data);
  };
  thread.onerror = (event) => {
    event.preventDefault();
    listener({ failure: event.message });
  };
  thread.postMessage(start);
  return thread;
}

/** `node:worker_threads`, which browsers do not have. */
function nodeThreads(): NodeThreads | undefined {
  const { process } = globalThis as {
    readonly process?: { getBuiltinModule?(name: string): NodeThreads | undefined };
  };
  return process?.getBuiltinModule?.("node:worker_threads");
}

/** Workers that sleep between jobs. */
class WorkerPool implements CpuThreads {
  readonly count: number;
  readonly #memory: CpuMemory;
  readonly #control: number;
  readonly #workers: Thread[] = [];
  #failure: GpuError | undefined;
  /** Tells whoever waits now that a worker has failed; a promise that outlived them would keep what they waited for. */
  #rejectWaiting: ((failure: GpuError) => void) | undefined;
  #submitted = 0;

  private constructor(memory: CpuMemory, control: number, threads: number) {
    this.#memory = memory;
    this.#control = control;
    this.count = threads;
  }

  static async start(
    code: Code,
    { memory, control, threads }: {
      readonly memory: CpuMemory;
      readonly control: number;
      readonly threads: number;
    },
  ): Promise<WorkerPool> {
    const pool = new WorkerPool(memory, control, threads);
    try {
      const ready = Array.from(
        { length: threads },
        (_, thread) => pool.#startWorker({ ...code, control, thread, threads }),
      );
      await pool.#untilFailure(Promise.all(ready));
    } catch (cause) {
      pool[Symbol.dispose]();
      throw cause;
    }
    for (const worker of pool.#workers) worker.unref?.();
    return pool;
  }

  async run(programs: readonly Program[]): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    writePrograms(this.#memory, this.#control, programs);
    const words = this.#words();
    const submitted = this.#submitted = (this.#submitted + 1) | 0;
    const [leader] = this.#workers;
    leader?.ref?.();
    this.#signal(words, SUBMITTED, submitted);
    for (;;) {
      const finished = Atomics.load(words, (this.#control + FINISHED) / 4);
      if (finished === submitted) {
        leader?.unref?.();
        return;
      }
      const { async, value } = Atomics.waitAsync(
        words,
        (this.#control + FINISHED) / 4,
        finished,
      );
      if (async) await this.#untilFailure(value);
    }
  }

  [Symbol.dispose](): void {
    const words = this.#words();
    Atomics.store(words, (this.#control + STOP) / 4, 1);
    for (const offset of [SUBMITTED, STATE]) {
      const index = (this.#control + offset) / 4;
      this.#signal(words, offset, Atomics.load(words, index) + 1);
    }
    for (const worker of this.#workers) worker.terminate();
    this.#fail("Cannot compute: the device must be alive: current state is disposed");
  }

  /** Waits for a promise, or throws when a worker fails. */
  async #untilFailure(wanted: Promise<unknown>): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    const { promise, reject } = Promise.withResolvers<never>();
    this.#rejectWaiting = reject;
    try {
      await Promise.race([wanted, promise]);
    } finally {
      this.#rejectWaiting = undefined;
    }
  }

  #fail(message: string): void {
    this.#failure ??= new GpuError(message);
    this.#rejectWaiting?.(this.#failure);
  }

  #words(): Int32Array<SharedArrayBuffer> {
    return new Int32Array(this.#memory.memory.buffer as unknown as SharedArrayBuffer);
  }

  #signal(words: Int32Array<SharedArrayBuffer>, offset: number, value: number): void {
    const index = (this.#control + offset) / 4;
    Atomics.store(words, index, value);
    Atomics.notify(words, index);
  }

  #startWorker(start: WorkerStart): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const listener = ({ failure }: ThreadMessage) => {
      if (failure === undefined) resolve();
      else this.#fail(`Cannot compute: thread ${start.thread} must return: ${failure}`);
    };
    this.#workers.push(startThread(start, listener));
    return promise;
  }
}

function writePrograms(memory: CpuMemory, control: number, programs: readonly Program[]): void {
  const words = new Uint32Array(memory.memory.buffer, control, CONTROL_BYTES / 4);
  words[PROGRAMS / 4] = programs.length;
  for (const [index, { address, steps }] of programs.entries()) {
    words[PROGRAM_LIST / 4 + 2 * index] = address;
    words[PROGRAM_LIST / 4 + 2 * index + 1] = steps;
  }
}

/** End of the import of the memory: its names, its kind, and the flag for "shared, with a maximum". */
const SHARED_IMPORT = [..."\x03env\x06memory\x02\x03"].map((letter) => letter.charCodeAt(0));

/** The same code for a memory that is not shared, which is all that a page without isolation may have. */
function withoutSharing(binary: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const start = binary.findIndex((_, index) =>
    SHARED_IMPORT.every((byte, offset) => binary[index + offset] === byte)
  );
  const copy = binary.slice();
  copy[start + SHARED_IMPORT.length - 1] = 1;
  return copy;
}
