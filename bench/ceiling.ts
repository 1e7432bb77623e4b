/**
 * Measures what this machine can do at most in WebAssembly: arithmetic on vectors of 128 bits, and reading of memory.
 *
 * The probe runs on the threads of the CPU device and is counted by processor time, so that other load disturbs it little.
 *
 * @module
 */

import { CpuDevice } from "../gpu/cpu_device.ts";
import type { CpuModule } from "../gpu/cpu_module.ts";
import { type Device, type DeviceBuffer, dispatch } from "../gpu/device.ts";
import { defineKernel } from "../gpu/kernel.ts";
import { MAX_THREADS } from "../gpu/cpu_device.ts";
import { Options, printJson, printRow, timeInTurns, type Work } from "./timing.ts";

/** The most that so many threads can do together. */
export interface Ceiling {
  /** Threads that compute. */
  readonly threads: number;
  /** 10^9 operations a second on 16-bit integers; a multiplication and its addition are two. */
  readonly integerGops: number;
  /** 10^9 operations a second on 32-bit floats, without fused multiplication and addition. */
  readonly floatGflops: number;
  /** 10^9 bytes a second that are read from memory. */
  readonly readGigabytes: number;
  /** Bytes that were read, more than any cache holds. */
  readonly readBytes: number;
}

const ITEMS = 256;
/** Operations of a round: 10 vectors of 8 integers or 4 floats, multiplied and added. */
const OPERATIONS = { integerGops: 160, floatGflops: 80 };
const ROUNDS = 20_000;
const SAMPLES = 7;

const MEBIBYTE = 2 ** 20;
/** Size of the last cache where the system does not tell it. */
const USUAL_CACHE = 64 * MEBIBYTE;
const MOST_READ = 2048 * MEBIBYTE;

/** Compiles the probe along with what runs programs. */
async function compileProbe(): Promise<CpuModule> {
  // The compiler takes more memory than all else, and the benchmark of memory must not find it there.
  const { compileSources, entriesOf } = await import("../tools/cpu_kernels.ts");
  const read = (path: string) => Deno.readTextFile(new URL(path, import.meta.url));
  const sources = new Map([
    ["run_program", await read("../kernels/run_program.as")],
    ["ceiling", await read("ceiling.as")],
  ]);
  const main = `export { run_job, lead, follow } from "./run_program";
export { ceiling_integers, ceiling_floats, ceiling_reads } from "./ceiling";`;
  const binary = await compileSources(sources, { main });
  const entries = entriesOf([sources.get("ceiling")!]) as CpuModule["entries"];
  return { base64: binary.toBase64(), entries };
}

/** A kernel that exists on the CPU device alone. */
function probeKernel(module: CpuModule, entry: string) {
  return defineKernel(
    {
      name: entry,
      wgsl: "",
      bindings: { source: "read u32", target: "write u32" },
      constants: {},
      params: { item_bytes: "u32", rounds: "u32" },
    },
    () => {},
    { module, passes: () => [{ entry, items: ITEMS, work: 2 ** 20 }] },
  );
}

/** Twice the last cache. */
function bytesToRead(): number {
  let cache = USUAL_CACHE;
  try {
    const text = Deno.readTextFileSync("/sys/devices/system/cpu/cpu0/cache/index3/size");
    const kibibytes = /^(\d+)K/.exec(text)?.[1];
    if (kibibytes !== undefined) cache = Math.max(cache, 1024 * Number(kibibytes));
  } catch {
    // Other systems have no such file.
  }
  const step = 128 * ITEMS;
  return step * Math.ceil(Math.min(2 * cache, MOST_READ) / step);
}

/** A buffer whose pages exist: memory that was never written would be read from one page of zeros. */
function filledBuffer(device: Device, byteLength: number): DeviceBuffer {
  const buffer = device.createBuffer("memory to read", byteLength);
  const part = Uint32Array.from({ length: MEBIBYTE / 4 }, (_, index) => Math.imul(index, 40503));
  for (let offset = 0; offset < byteLength; offset += part.byteLength) {
    device.write(
      buffer,
      offset,
      part.subarray(0, Math.min(part.length, (byteLength - offset) / 4)),
    );
  }
  return buffer;
}

/**
 * Measures the machine.
 *
 * @param threads Threads that compute together.
 */
export async function measureCeiling(threads: number): Promise<Ceiling> {
  const module = await compileProbe();
  using device = new CpuDevice({ threads });
  using owner = new DisposableStack();
  const readBytes = bytesToRead();
  const source = owner.use(filledBuffer(device, readBytes));
  const target = owner.use(device.createBuffer("sums", 16 * ITEMS));
  const work = async (entry: string): Promise<Work> => {
    const kernel = probeKernel(module, entry);
    const params = { item_bytes: readBytes / ITEMS, rounds: ROUNDS };
    const command = dispatch({ kernel, buffers: { source, target }, params, grid: [1, 1, 1] });
    const recording = owner.use(await device.record(entry, [command]));
    return { run: () => device.submit(recording), times: 1 };
  };
  const works = {
    integerGops: await work("ceiling_integers"),
    floatGflops: await work("ceiling_floats"),
    readGigabytes: await work("ceiling_reads"),
  };
  const times = await timeInTurns(device, works, SAMPLES);
  const rate = (name: keyof typeof works, count: number) =>
    count * threads / times[name].processorMs / 1e6;
  const arithmetic = (name: keyof typeof OPERATIONS) =>
    rate(name, OPERATIONS[name] * ITEMS * ROUNDS);
  return {
    threads,
    integerGops: arithmetic("integerGops"),
    floatGflops: arithmetic("floatGflops"),
    readGigabytes: rate("readGigabytes", readBytes),
    readBytes,
  };
}

const COLUMNS = [
  ["threads", 7, 0],
  ["integers, GOP/s", 16, 1],
  ["floats, GFLOP/s", 16, 1],
  ["reads, GB/s", 12, 1],
] as const;

/** Prints ceilings as a table. */
export function printCeilings(ceilings: readonly Ceiling[]): void {
  printRow(COLUMNS);
  for (const { threads, integerGops, floatGflops, readGigabytes } of ceilings) {
    printRow(COLUMNS, [threads, integerGops, floatGflops, readGigabytes]);
  }
}

/** Runs the probe alone. */
export async function benchCeiling(args: string[]): Promise<void> {
  const cores = navigator.hardwareConcurrency;
  const options = new Options(args, { threads: [...new Set([1, cores])].join(",") });
  const ceilings: Ceiling[] = [];
  for (const threads of options.counts("threads", 1, MAX_THREADS)) {
    ceilings.push(await measureCeiling(threads));
  }
  printCeilings(ceilings);
  printJson("ceiling", undefined, { ceilings });
}
