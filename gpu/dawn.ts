/**
 * Chromium's implementation of WebGPU, Dawn, as a native library in Deno.
 *
 * @module
 */

import { GpuError } from "../core/check.ts";
import { PromiseCache } from "../core/promise_cache.ts";
import { type Captured, captureStderr } from "./captured_stderr.ts";
import { paceDawn } from "./dawn_pace.ts";
import type { GpuEntry } from "./webgpu_adapter.ts";
import { oneLine } from "./webgpu_errors.ts";

/** Package with the library: no dependency of this one, since nobody who computes elsewhere needs its 100 MB. */
export const DAWN_PACKAGE = "npm:webgpu@0.6.2";

/** Its name in a project that lists it. */
const DAWN_NAME = "webgpu";

/** Event of the global object before a driver is loaded that may end the process; supervisors listen. */
export const DRIVER_EVENT = "smallkv-driver";

/** What the package exports. */
export interface DawnLibrary {
  /** Makes an entry point of WebGPU; options read `name=value`. */
  create(options: string[]): GpuEntry;
}

/** What loading Dawn touches; replaced in tests. */
export interface DawnHost {
  /** Operating system and processor type. */
  readonly platform: string;
  /** Loads the library. */
  load(): Promise<DawnLibrary>;
  /** Calls something and catches what it prints to standard error. */
  capture<T>(call: () => T): Captured<T>;
  /** Prints to standard error. */
  print(text: string): void;
}

/** Dawn's entry point, and what it said about drivers that it refuses. */
export interface Dawn extends GpuEntry {
  /** Warnings so far, the newest last. */
  readonly warnings: readonly string[];
}

/** Where there is no other device to fall back to. */
const OTHER_DEVICES = "choose the device webgpu or cpu";

/**
 * Features beyond the standard are behind this toggle, the products of matrices by a subgroup among them; they still have to
 * be asked for.
 */
const TOGGLES = "enable-dawn-features=allow_unsafe_apis";

/** Dawn aborts the process once its entry point is collected while a device lives: one is made, and kept. */
const held = new PromiseCache<"dawn", Dawn>();

/**
 * Loads Dawn, once per process.
 *
 * @returns Its entry point.
 * @throws {GpuError} If it cannot be loaded, saying what to do.
 */
export function sharedDawn(): Promise<Dawn> {
  return held.get("dawn", () => loadDawn(localHost()));
}

/**
 * Loads Dawn.
 *
 * @param host What loading touches.
 * @returns Its entry point, which keeps warnings from standard error and lets everything else through.
 * @throws {GpuError} If it cannot be loaded, saying what to do.
 */
export async function loadDawn(host: DawnHost): Promise<Dawn> {
  const library = await host.load().catch((error: unknown) => {
    throw loadError(error, host.platform);
  });
  globalThis.dispatchEvent(new Event(DRIVER_EVENT));
  const warnings: string[] = [];
  const quiet = <T>(call: () => T): T => {
    const { result, text } = host.capture(call);
    const { warned, rest } = splitWarnings(text);
    warnings.push(...warned);
    if (rest !== "") host.print(rest);
    return result;
  };
  const gpu = quiet(() => library.create([TOGGLES]));
  const { wgslLanguageFeatures } = gpu;
  return {
    warnings,
    requestAdapter: (options) => quiet(() => gpu.requestAdapter(options)),
    ...(wgslLanguageFeatures && { wgslLanguageFeatures }),
  };
}

/**
 * Says why Dawn finds no adapter.
 *
 * @param warnings What it said while it looked.
 * @returns The error.
 */
export function noAdapter(warnings: readonly string[]): GpuError {
  const reasons = warnings.map((warning) => /^(.*) required\.?$/.exec(warning)?.[1])
    .filter((reason) => reason !== undefined);
  if (reasons.length === 0) {
    return new GpuError(
      `Cannot use Dawn: there must be a driver for Vulkan, Metal or Direct3D 12: current number is 0: install one, or ${OTHER_DEVICES}`,
    );
  }
  return new GpuError(
    `Cannot use Dawn: a driver must have ${
      [...new Set(reasons)].join(" and ")
    }: the current one has not: install a newer one, on Debian 12 by deno task driver --backports, or ${OTHER_DEVICES}`,
  );
}

/** Takes warnings, each with the indented lines that follow it, out of what Dawn printed. */
function splitWarnings(text: string): { warned: string[]; rest: string } {
  const warned: string[] = [];
  let rest = "";
  let isWarning = false;
  for (const line of text.split(/(?<=\n)/)) {
    const isStart = line.startsWith("Warning: ");
    isWarning = isStart || isWarning && /^\s/.test(line);
    if (!isWarning) rest += line;
    else if (isStart) warned.push(line.slice("Warning: ".length).trim());
  }
  return { warned, rest };
}

function loadError(error: unknown, platform: string): GpuError {
  if (error instanceof GpuError) return error;
  const message = oneLine(error instanceof Error ? error.message : String(error));
  const refuse = (text: string) => new GpuError(`Cannot use Dawn: ${text}`, { cause: error });
  if (error instanceof Error && error.name === "NotCapable") {
    return refuse(
      "the process must have the permission to load native libraries: the current one has not: start it with --allow-ffi",
    );
  }
  if (/cannot find module .*\.node|not a valid win32|wrong elf class/i.test(message)) {
    return refuse(
      `${DAWN_PACKAGE} must have a library for this platform: current value is ${platform}: ${OTHER_DEVICES}`,
    );
  }
  return refuse(`${DAWN_PACKAGE} must load: ${message}: ${OTHER_DEVICES}`);
}

function localHost(): DawnHost {
  const build = globalThis.Deno?.build;
  return {
    platform: `${build?.os} ${build?.arch}`,
    load: importDawn,
    capture: captureStderr,
    print: (text) => console.error(text.trimEnd()),
  };
}

/** A name that is computed keeps the package out of the module graph, and with it out of every installation and bundle. */
async function importDawn(): Promise<DawnLibrary> {
  if (globalThis.Deno === undefined) {
    throw new GpuError(
      "Cannot use Dawn: the program must run in Deno: current place is a browser: choose the device webgpu, which is Dawn in Chromium",
    );
  }
  const library = await import(isListed(DAWN_NAME) ? DAWN_NAME : DAWN_PACKAGE);
  paceDawn();
  return library;
}

/** Whether the project lists a package, whose version is then locked and need not be looked up. */
function isListed(name: string): boolean {
  try {
    import.meta.resolve(name);
    return true;
  } catch {
    return false;
  }
}
