/**
 * Looks for a WebGPU adapter and installs a software driver where that is possible and needed.
 *
 * @module
 */

import { debianSuite, OFFER, OLD_SUITE } from "./backports.ts";

/** What `ensureAdapter` needs to know and to do; replaced in tests. */
export interface AdapterHost {
  /** Whether the user may install packages. */
  readonly isRoot: boolean;
  /** Whether packages are installed with apt. */
  readonly hasApt: boolean;
  /** What the user set DENO_WEBGPU_BACKEND to. */
  readonly backend?: string | undefined;
  /** Whether the command refuses to run without an adapter. */
  readonly isRequired?: boolean;
  /** Whether installing is allowed (`SMALLKV_INSTALL` is not 0). */
  readonly mayInstall: boolean;
  /** What to say of a newer driver than the one that is installed, where there is one. */
  readonly offer?: string | undefined;
  /** Name of the adapter that a fresh process finds. */
  findAdapter(): Promise<string | undefined>;
  /** Installs the driver; the reason if that failed. */
  install(): Promise<string | undefined>;
  /** Prints one line for the user. */
  say(line: string): void;
}

/** Debian packages of Mesa's software driver and of the loader that finds it. */
const PACKAGES = ["mesa-vulkan-drivers", "libvulkan1"];

/** Names that DENO_WEBGPU_BACKEND may list, some of them for one back end. */
const BACKEND_NAMES: readonly string[] = [
  "vulkan",
  "vk",
  "metal",
  "mtl",
  "dx12",
  "d3d12",
  "gl",
  "gles",
  "opengl",
  "webgpu",
];

/** Longest time an adapter may take to answer. */
const PROBE_MS = 60_000;

/**
 * Finds an adapter, installing Mesa's software driver if there is none and the user is root.
 *
 * @returns Name of the adapter; undefined if there is none.
 */
export async function ensureAdapter(host: AdapterHost): Promise<string | undefined> {
  const found = await host.findAdapter();
  if (found !== undefined) return found;
  const next = host.isRequired === true ? "" : "; tests of WebGPU are skipped";
  if (host.backend !== undefined && !host.backend.split(",").every(isBackendName)) {
    const names = BACKEND_NAMES.join(", ");
    host.say(
      `Cannot use a GPU: DENO_WEBGPU_BACKEND must be among ${names}: current value is ${host.backend}${next}`,
    );
    return undefined;
  }
  if (!(host.isRoot && host.hasApt && host.mayInstall)) {
    host.say(`No WebGPU adapter was found: ${advice(host)}${next}`);
    return undefined;
  }
  host.say(`No WebGPU adapter was found: installing Mesa's software driver (${names()})`);
  const failure = await host.install();
  const installed = failure === undefined ? await host.findAdapter() : undefined;
  if (installed === undefined) {
    const reason = failure ?? "the driver offers no adapter";
    host.say(`Cannot install ${names()}: ${reason}${next}`);
  } else if (host.offer !== undefined) host.say(host.offer);
  return installed;
}

function isBackendName(name: string): boolean {
  return BACKEND_NAMES.includes(name.trim().toLowerCase());
}

function names(): string {
  return PACKAGES.join(" ");
}

function advice(host: AdapterHost): string {
  if (host.hasApt) {
    const command = `apt-get install ${names()}`;
    return host.isRoot
      ? `SMALLKV_INSTALL=0 forbids ${command}`
      : `install one with sudo ${command}`;
  }
  return "install a Vulkan driver (Debian: mesa-vulkan-drivers, Fedora: mesa-vulkan-drivers, " +
    "Arch: vulkan-swrast)";
}

/**
 * Describes this machine.
 *
 * @param env Environment of the probe, for example XDG_RUNTIME_DIR.
 * @param say Prints one line for the user.
 * @returns The machine, ready for `ensureAdapter`.
 */
export async function localHost(
  env: Readonly<Record<string, string>>,
  say: (line: string) => void,
): Promise<AdapterHost> {
  return {
    isRoot: Deno.build.os === "linux" && Deno.uid() === 0,
    hasApt: Deno.build.os === "linux" && await runs("apt-get", ["--version"]),
    backend: Deno.env.get("DENO_WEBGPU_BACKEND"),
    mayInstall: Deno.env.get("SMALLKV_INSTALL") !== "0",
    offer: debianSuite() === OLD_SUITE ? OFFER : undefined,
    findAdapter: () => probe(env),
    install,
    say,
  };
}

/**
 * Environment of processes that use WebGPU: on Linux the folder that drivers expect, and no OpenGL, whose
 * library can abort the process at its end.
 *
 * @param runtimeFolder An existing folder, taken where the system names none.
 * @returns Variables that are missing so far.
 */
export function driverEnvironment(runtimeFolder: string): Record<string, string> {
  if (Deno.build.os !== "linux") return {};
  const wanted = { DENO_WEBGPU_BACKEND: "vulkan", XDG_RUNTIME_DIR: runtimeFolder };
  return Object.fromEntries(Object.entries(wanted).filter(([name]) => !Deno.env.get(name)));
}

async function runs(program: string, args: string[]): Promise<boolean> {
  try {
    return (await new Deno.Command(program, { args }).output()).success;
  } catch {
    return false;
  }
}

/** Asks in a child process, since a loader that once found no driver does not look again. */
async function probe(env: Readonly<Record<string, string>>): Promise<string | undefined> {
  const { success, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--no-config", "--no-lock", import.meta.filename!],
    env: { ...env, NO_COLOR: "1" },
    signal: AbortSignal.timeout(PROBE_MS),
    stderr: "null",
  }).output();
  return success ? new TextDecoder().decode(stdout).trim() : undefined;
}

async function install(): Promise<string | undefined> {
  const env = { DEBIAN_FRONTEND: "noninteractive" };
  const options = ["-o", "DPkg::Lock::Timeout=300", "-y", "--no-install-recommends"];
  const failure = await aptGet(["update"], env);
  return failure ?? await aptGet([...options, "install", ...PACKAGES], env);
}

/**
 * Runs apt-get.
 *
 * @param env Variables beside those of this process.
 * @returns The last line of its errors; undefined if it succeeded.
 */
export async function aptGet(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<string | undefined> {
  const { success, stderr } = await new Deno.Command("apt-get", { args: [...args], env }).output();
  if (success) return undefined;
  const lastLine = new TextDecoder().decode(stderr).trim().split("\n").at(-1) ?? "";
  const action = args.includes("install") ? "install" : args.at(0);
  return `apt-get ${action} failed (${lastLine})`;
}

if (import.meta.main) {
  const adapter = await navigator.gpu?.requestAdapter();
  const device = await adapter?.requestDevice();
  if (!adapter || !device) Deno.exit(1);
  device.destroy();
  console.log(adapter.info.description || adapter.info.device || "unnamed adapter");
}
