/**
 * What all benchmarks share: options, models, the clock, tables and the line of JSON.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { RequirementError, UsageError } from "../core/check.ts";
import { printableText } from "../core/printable.ts";
import { median, quantile } from "../core/stats.ts";
import { embeddedPair } from "../data/embedded.ts";
import {
  ACTIVATION_BITS,
  type ActivationBits,
  type Backend,
  BACKENDS,
  type Command,
  type Device,
} from "../gpu/device.ts";
import { driverEntry } from "../gpu/driver.ts";
import { readShapes } from "../experiments/runner/tuned_shapes.ts";
import { checkHeeded, type HeededOptions, heeds, openDevice } from "../gpu/open_device.ts";
import { shapesName } from "../kernels/shapes.ts";
import { type Sample, startClock } from "./speed.ts";

/** What the options of a command are for, as its errors name it. */
const ACTION = "run the benchmark";

const FILES: Readonly<Record<string, string>> = {
  "0.5b": "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
  "1.5b": "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
};

/** Time that the repetitions of a command take together, in milliseconds. */
const MIN_MS = 60;

/** Options of a command line, all with a default; those that are given several times make one list. */
export class Options<Name extends string> {
  /** Values by name. */
  readonly values: Readonly<Record<Name, string>>;
  readonly #given: ReadonlySet<string>;
  readonly #action: string;

  /**
   * Reads a command line.
   *
   * @param action What errors say cannot be done.
   * @throws {UsageError} If a word is no option of these, or an option has no value.
   */
  constructor(args: string[], defaults: Readonly<Record<Name, string>>, action = ACTION) {
    this.#action = action;
    const entries = Object.entries<string>(defaults).map((
      [name, value],
    ) => [name, { type: "string" as const, multiple: true, default: [value] }]);
    const { values, tokens } = parseArgs({
      args,
      options: Object.fromEntries(entries),
      strict: false,
      allowPositionals: true,
      tokens: true,
    });
    const given = tokens.flatMap((token) => {
      if (token.kind === "positional") {
        this.#fail(`every value must follow an option: current value is ${token.value}`);
      }
      if (token.kind !== "option") return [];
      const { rawName, name, value } = token;
      if (!rawName.startsWith("--") || !Object.hasOwn(defaults, name)) {
        const known = Object.keys(defaults).map((one) => `--${one}`).join(", ") || "none";
        this.#fail(`options must be among ${known}: current value is ${rawName}`);
      }
      if (value === undefined) this.#fail(`${rawName} must have a value: current value is none`);
      return [name];
    });
    this.#given = new Set(given);
    const joined = Object.entries(values).map(([name, list]) => [name, String(list)]);
    this.values = Object.fromEntries(joined);
  }

  #fail(reason: string): never {
    throw new UsageError(`Cannot ${this.#action}: ${reason}`);
  }

  /** Whether an option was given. */
  has(name: Name): boolean {
    return this.#given.has(name);
  }

  /** Integers from `min` to `max`, separated by commas. */
  counts(name: Name, min = 1, max = Number.MAX_SAFE_INTEGER): number[] {
    const range = max < Number.MAX_SAFE_INTEGER ? `from ${min} to ${max}` : `of at least ${min}`;
    return this.values[name].split(",").map((text) => {
      const value = text.trim() === "" ? NaN : Number(text);
      if (Number.isSafeInteger(value) && value >= min && value <= max) return value;
      this.#fail(`--${name} must list integers ${range}: current value is ${text}`);
    });
  }

  /** One integer of at least 1. */
  count(name: Name): number {
    const [count, ...others] = this.counts(name);
    if (others.length === 0) return count!;
    this.#fail(`--${name} must be one integer: current value is ${this.values[name]}`);
  }

  /** A share above 0 and at most 1. */
  share(name: Name): number {
    const value = Number(this.values[name]);
    if (value > 0 && value <= 1) return value;
    const current = this.values[name];
    this.#fail(`--${name} must be a share above 0 and at most 1: current value is ${current}`);
  }

  /** One of the known words. */
  word<Word extends string>(name: Name, known: readonly Word[]): Word {
    const [word, ...others] = this.words(name, known);
    if (others.length === 0) return word!;
    const current = this.values[name];
    this.#fail(`--${name} must be one of ${known.join(", ")}: current value is ${current}`);
  }

  /** Some of the known words, separated by commas. */
  words<Word extends string>(name: Name, known: readonly Word[]): Word[] {
    return this.values[name].split(",").map((word) => {
      const found = known.find((one) => one === word);
      if (found !== undefined) return found;
      this.#fail(`--${name} must list some of ${known.join(", ")}: current value is ${word}`);
    });
  }
}

/**
 * Finds a model.
 *
 * @param name A path; `embedded`; or `0.5b` or `1.5b` for a file of the folder that SMALLKV_MODELS names.
 * @param role Which model of the embedded pair is meant.
 * @throws {UsageError} If there is no such folder.
 */
export function modelPath(name: string, role: "large" | "small" = "large"): string {
  if (name === "embedded") return embeddedPair()[role];
  if (!Object.hasOwn(FILES, name)) return name;
  const file = FILES[name]!;
  const folder = Deno.env.get("SMALLKV_MODELS");
  if (folder !== undefined) return `${folder}/${file}`;
  throw new UsageError(
    `Cannot ${ACTION}: SMALLKV_MODELS must name the folder of ${file}: current value is none`,
  );
}

/** Options that say where a benchmark runs. */
export const DEVICE_OPTIONS = {
  device: "auto",
  threads: "0",
  "activation-bits": "default",
  shapes: "auto",
};

/**
 * Opens one device after the other: each back end that `--device` lists, once for each of `--activation-bits`, the CPU also for
 * each number of `--threads`.
 *
 * @param run What runs on each; the device is closed after it.
 */
export async function onEachDevice(
  options: Options<keyof typeof DEVICE_OPTIONS>,
  run: (device: Device) => Promise<void>,
): Promise<void> {
  for (const open of deviceOpeners(options)) {
    using device = await open();
    await run(device);
  }
}

/** What opens each of them; 0 threads stand for the cores of the machine. */
export function deviceOpeners(
  options: Options<keyof typeof DEVICE_OPTIONS>,
): (() => Promise<Device>)[] {
  const backends = options.words<"auto" | Backend>("device", ["auto", ...BACKENDS]);
  const counts = options.counts("threads", 0);
  const usual = DEVICE_OPTIONS["activation-bits"];
  const bits = options.words("activation-bits", [usual, ...ACTIVATION_BITS.map(String)]);
  return backends.flatMap((backend) => {
    // Of a list, each device takes what it heeds; an option that none heeds is refused.
    const takes = (option: keyof HeededOptions) => {
      const isHeeded = (one: "auto" | Backend) => one === "auto" || heeds(one, option);
      return isHeeded(backend) || !backends.some(isHeeded);
    };
    return (takes("threads") ? counts : [0]).flatMap((threads) =>
      (takes("activationBits") ? bits : [usual]).map((one) => async () => {
        const shapes = takes("shapes") && await readShapes(options.values.shapes, backend);
        const given = {
          ...(threads > 0 && { threads }),
          ...(one !== usual && { activationBits: Number(one) as ActivationBits }),
          ...(shapes && { shapes }),
        };
        const device = await openDevice({ backend, ...given });
        if (backends.length === 1) checkHeeded(device.info.backend, given); // what auto has taken
        return device;
      })
    );
  });
}

/** Work that is timed. */
export interface Work {
  /** Does the work; it need not wait for the device. */
  run(): void | Promise<void>;
  /** How many times `run` repeats the work; its time is divided by this. */
  readonly times: number;
}

/** Medians and quartiles of samples, by the clock and by processor time. */
export interface Times {
  readonly medianMs: number;
  readonly lowMs: number;
  readonly highMs: number;
  readonly processorMs: number;
  readonly processorLowMs: number;
  readonly processorHighMs: number;
}

/** Sums up samples. */
export function timesOf(samples: readonly Sample[]): Times {
  const walls = samples.map(({ wallMs }) => wallMs);
  const processors = samples.map(({ processorMs }) => processorMs);
  return {
    medianMs: median(walls),
    lowMs: quantile(walls, 0.25),
    highMs: quantile(walls, 0.75),
    processorMs: median(processors),
    processorLowMs: quantile(processors, 0.25),
    processorHighMs: quantile(processors, 0.75),
  };
}

async function timeOnce(device: Device, { run, times }: Work): Promise<Sample> {
  // Waiting for the device takes a while even if it has nothing to do.
  const waiting = performance.now();
  await device.finished();
  const [waitedMs, clock] = [performance.now() - waiting, startClock()];
  await run();
  await device.finished();
  const { wallMs, processorMs } = clock();
  return { wallMs: Math.max(0, wallMs - waitedMs) / times, processorMs: processorMs / times };
}

/**
 * Times several kinds of work in turns, so that other load disturbs all of them equally; an additional first turn
 * warms up.
 *
 * @param samples Turns.
 * @returns Medians and quartiles of each.
 */
export async function timeInTurns<Name extends string>(
  device: Device,
  works: Readonly<Record<Name, Work>>,
  samples: number,
): Promise<Record<Name, Times>> {
  const names = Object.keys(works) as Name[];
  const taken = new Map(names.map((name) => [name, [] as Sample[]]));
  for (let sample = 0; sample <= samples; sample++) {
    for (const name of names) {
      const times = await timeOnce(device, works[name]);
      if (sample > 0) taken.get(name)!.push(times);
    }
  }
  const summary = names.map((name) => [name, timesOf(taken.get(name)!)] as const);
  return Object.fromEntries(summary) as Record<Name, Times>;
}

/**
 * Records commands often enough for the clock to resolve their time.
 *
 * @param commands Commands, all of them timed together.
 * @param owner Frees the recording.
 */
export async function repeated(
  device: Device,
  commands: readonly Command[],
  owner: DisposableStack,
): Promise<Work> {
  const once = owner.use(await device.record("once", commands));
  const work = { run: () => device.submit(once), times: 1 };
  await timeOnce(device, work);
  const times = Math.max(
    1,
    Math.ceil(MIN_MS / Math.max(0.05, (await timeOnce(device, work)).wallMs)),
  );
  const all = owner.use(await device.record("timed", new Array(times).fill(commands).flat()));
  return { run: () => device.submit(all), times };
}

/**
 * Fails if a kernel is further from its float64 twin than rounding allows.
 *
 * @param [actual, expected] Its result, and the twin's.
 * @param limit Largest difference of an element, given what it must be.
 * @throws {RequirementError} If an element is off.
 */
export function checkResult(
  name: string,
  [actual, expected]: readonly [ArrayLike<number>, ArrayLike<number>],
  limit: (expected: number) => number,
): void {
  for (let index = 0; index < expected.length; index++) {
    const [is, must] = [actual[index]!, expected[index]!];
    if (Math.abs(is - must) <= limit(must)) continue;
    throw new RequirementError({
      action: `time ${name}`,
      requirement: `element ${index} must be ${must}`,
      current: is,
    });
  }
}

/** Column of a table: heading, width (left-aligned if negative), digits of numbers. */
export type Column = readonly [heading: string, width: number, digits?: number];

/**
 * Prints a line of a table.
 *
 * @param cells Texts and numbers; the headings if left out.
 */
export function printRow(columns: readonly Column[], cells?: readonly (string | number)[]): void {
  const texts = columns.map(([heading, width, digits = 2], index) => {
    const cell = cells === undefined ? heading : cells[index] ?? "";
    const text = typeof cell === "number" ? cell.toFixed(digits) : cell;
    return width < 0 ? text.padEnd(-width) : text.padStart(width);
  });
  console.log(texts.join(" ").trimEnd());
}

/** Prints the device and the load of the machine, which times depend on. */
export function printDevice(device: Device): void {
  const load = `load ${Deno.loadavg()[0]!.toFixed(1)} on ${navigator.hardwareConcurrency} cores`;
  console.log(printableText(`${deviceName(device)}, ${load}`));
}

/** Names a device for people. */
export function deviceName({ info }: Device): string {
  const { backend, threads } = info;
  const { driver } = driverEntry(info);
  const shapes = shapesName(info);
  const parts = [
    info.description,
    driver,
    threads && `threads: ${threads}`,
    shapes && `shapes: ${shapes}`,
  ];
  return `${backend} (${parts.filter(Boolean).join(", ")})`;
}

/**
 * Prints the last line of a benchmark: JSON with what the figures depend on.
 *
 * @param device What computed; undefined for the host.
 */
export function printJson(bench: string, device: Device | undefined, figures: object): void {
  const facts = { commit: commit(), deno: Deno.version.deno, load: Deno.loadavg()[0]! };
  const { backend, description, isSoftware, threads, activationBits } = device?.info ?? {};
  const driver = device && driverEntry(device.info);
  const shapes = device && shapesName(device.info);
  const where = { backend, description, ...driver, isSoftware, threads, activationBits, shapes };
  console.log(JSON.stringify({ bench, ...facts, ...where, ...figures }));
}

/** Commit of the tree; empty outside a repository. */
function commit(): string {
  try {
    const { stdout } = new Deno.Command("git", { args: ["rev-parse", "HEAD"] }).outputSync();
    return new TextDecoder().decode(stdout).trim();
  } catch {
    return "";
  }
}
