/**
 * Times llama.cpp, through `node-llama-cpp`, on the same file and machine.
 *
 * The package is put into the cache folder with npm, since only this benchmark needs it.
 *
 * @module
 */

import { spawn } from "node:child_process";
import process from "node:process";
import { createInterface } from "node:readline";
import { RequirementError } from "../core/check.ts";
import { type SpeedEngine, type SpeedRun, type SpeedShape, timeRun } from "./speed.ts";

const VERSION = "3.22.1";

/** Where llama.cpp can compute. */
export const PEER_DEVICES = ["vulkan", "cpu"] as const;

/** Where llama.cpp computes. */
export type PeerDevice = typeof PEER_DEVICES[number];

/** Folder that holds the package; installs it where it is missing. */
async function packageFolder(): Promise<string> {
  const home = Deno.env.get("HOME") ?? Deno.env.get("USERPROFILE") ?? ".";
  const folder = `${home}/.cache/smallkv/peers/node-llama-cpp-${VERSION}`;
  if (await isInstalled(folder)) return folder;
  await Deno.mkdir(folder, { recursive: true });
  const { os, arch } = Deno.build;
  const platform = `${os}-${arch === "x86_64" ? "x64" : "arm64"}`;
  const names = [platform, `${platform}-vulkan`].map((name) =>
    `@node-llama-cpp/${name}@${VERSION}`
  );
  const { success, stderr } = await new Deno.Command("npm", {
    args: ["install", "--prefix", folder, "--omit=optional", "--ignore-scripts", "--no-audit"]
      .concat("--no-fund", "--silent", `node-llama-cpp@${VERSION}`, names),
  }).output();
  if (success) return folder;
  throw new RequirementError({
    action: "install node-llama-cpp",
    requirement: "npm must end without an error",
    state: `error is ${new TextDecoder().decode(stderr).trim()}`,
  });
}

async function isInstalled(folder: string): Promise<boolean> {
  try {
    return (await Deno.stat(`${folder}/node_modules/node-llama-cpp/package.json`)).isFile;
  } catch {
    return false;
  }
}

/** How llama.cpp runs. */
interface PeerOptions extends SpeedShape {
  /** Where it computes; `vulkan` takes the first adapter, software or not. */
  readonly device: PeerDevice;
  /** Threads on the CPU. */
  readonly threads: number;
}

/** What a child process answers: first its name, then one run after the other. */
interface Answer extends SpeedRun {
  readonly name: string;
}

/**
 * Starts llama.cpp in a process of its own, whose processor time is its alone.
 *
 * @returns The engine, with the model loaded.
 * @throws {RequirementError} If the model is not a GGUF file.
 * @throws {Error} If it cannot be installed or ends early.
 */
export async function openPeer(options: PeerOptions): Promise<SpeedEngine> {
  if (!/\.gguf$/i.test(options.path)) {
    throw new RequirementError({
      action: "run llama.cpp",
      requirement: "the model must be a .gguf file",
      current: options.path,
    });
  }
  const module = `${await packageFolder()}/node_modules/node-llama-cpp/dist/index.js`;
  const child = spawn(
    Deno.execPath(),
    ["run", "-A", "--no-config", "--no-lock", "--node-modules-dir=manual"]
      .concat(import.meta.filename!, JSON.stringify({ ...options, module })),
    { env: { ...process.env, GGML_VK_VISIBLE_DEVICES: "0" }, stdio: ["pipe", "pipe", "pipe"] },
  );
  let errors = "";
  child.stderr.on("data", (text) => errors = (errors + text).slice(-2000));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = async (): Promise<Answer> => {
    for (;;) {
      const { done, value } = await lines.next();
      // The package may print lines of its own.
      if (done !== true && value.startsWith("{")) return JSON.parse(value);
      if (done !== true) continue;
      const reason = errors.trim().split("\n").slice(-3).join(" ");
      throw new RequirementError({
        action: `time llama.cpp on ${options.device}`,
        requirement: "it must run to its end",
        state: `error is ${reason}`,
      });
    }
  };
  const ask = async (part: "prompt" | "decode") => {
    child.stdin.write(`${part}\n`);
    return await answer();
  };
  const { name } = await answer();
  return {
    name,
    ...(options.device === "cpu" && { threads: options.threads }),
    prompt: () => ask("prompt"),
    decode: () => ask("decode"),
    [Symbol.asyncDispose]() {
      child.kill();
      return Promise.resolve();
    },
  };
}

/** The part of `node-llama-cpp` that is used here. */
interface LlamaModule {
  getLlama(options: Record<string, unknown>): Promise<Llama>;
}

interface Llama {
  readonly gpu: string | false;
  getGpuDeviceNames(): Promise<string[]>;
  loadModel(options: Record<string, unknown>): Promise<LlamaModel>;
}

interface LlamaModel {
  createContext(options: Record<string, unknown>): Promise<{ getSequence(): LlamaSequence }>;
}

interface LlamaSequence {
  readonly nextTokenIndex: number;
  clearHistory(): Promise<void>;
  eraseContextTokenRanges(ranges: readonly { start: number; end: number }[]): Promise<void>;
  evaluate(
    tokens: readonly number[],
    options: { readonly temperature: number; readonly yieldEogToken: boolean },
  ): AsyncIterable<number>;
}

/** Runs tokens and chooses some more. */
async function evaluate(
  sequence: LlamaSequence,
  given: readonly number[],
  count: number,
): Promise<number[]> {
  const tokens: number[] = [];
  // End tokens are treated like any other, so that every engine decodes as many tokens.
  for await (const token of sequence.evaluate(given, { temperature: 0, yieldEogToken: true })) {
    tokens.push(token);
    if (tokens.length === count) break;
  }
  return tokens;
}

/** Loads the model in this process. */
async function openLlama(
  { path, prompt, newTokens, device, threads, module }: PeerOptions & { readonly module: string },
): Promise<Omit<SpeedEngine, keyof AsyncDisposable>> {
  const { getLlama } = await import(`file://${module}`) as LlamaModule;
  const isGpu = device !== "cpu";
  // Without this limit the package takes four threads at least.
  const limits = isGpu ? {} : { maxThreads: threads };
  const options = { gpu: isGpu && device, build: "never", logLevel: "error", ...limits };
  const llama = await getLlama(options);
  const where = isGpu ? (await llama.getGpuDeviceNames()).join(", ") : `threads: ${threads}`;
  const model = await llama.loadModel({ modelPath: path, gpuLayers: isGpu ? "max" : 0 });
  const contextSize = prompt.length + newTokens + 8;
  const context = await model.createContext({
    contextSize,
    batchSize: prompt.length,
    ...(!isGpu && { threads }),
  });
  const sequence = context.getSequence();
  let first: readonly number[] = [];
  return {
    name: `llama.cpp, ${device} (${where})`,
    prompt: async () => {
      await sequence.clearHistory();
      const run = await timeRun(() => evaluate(sequence, prompt, 1));
      first = run.tokens;
      return run;
    },
    decode: async () => {
      const end = sequence.nextTokenIndex;
      if (end > prompt.length) {
        await sequence.eraseContextTokenRanges([{ start: prompt.length, end }]);
      }
      return await timeRun(() => evaluate(sequence, first, newTokens), newTokens);
    },
  };
}

if (import.meta.main) {
  const engine = await openLlama(JSON.parse(Deno.args[0]!));
  console.log(JSON.stringify({ name: engine.name }));
  for await (const part of createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await engine[part as "prompt" | "decode"]()));
  }
  Deno.exit(0);
}
