/**
 * Times llama.cpp, through `node-llama-cpp`, on the same file and machine.
 *
 * The package is put into the cache folder with npm, since only this benchmark needs it.
 *
 * @module
 */

import { type SpeedFigures, speedFigures, type SpeedRun, type SpeedShape } from "./speed.ts";

const VERSION = "3.22.1";

/** Longest time a peer may take. */
const LIMIT_MS = 20 * 60_000;

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
  throw new Error(`npm cannot install node-llama-cpp: ${new TextDecoder().decode(stderr).trim()}`);
}

async function isInstalled(folder: string): Promise<boolean> {
  try {
    return (await Deno.stat(`${folder}/node_modules/node-llama-cpp/package.json`)).isFile;
  } catch {
    return false;
  }
}

/**
 * Times llama.cpp in a separate process.
 *
 * @param device Where it computes; `vulkan` takes the first adapter, software or not.
 * @returns Times of each repetition after a warm-up.
 */
export async function benchPeer(device: PeerDevice, shape: SpeedShape): Promise<SpeedFigures> {
  const module = `${await packageFolder()}/node_modules/node-llama-cpp/dist/index.js`;
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-config", "--no-lock", "--node-modules-dir=manual"]
      .concat(
        import.meta.filename!,
        JSON.stringify({ ...shape, module, device }),
      ),
    env: { GGML_VK_VISIBLE_DEVICES: "0" },
    signal: AbortSignal.timeout(LIMIT_MS),
  }).output();
  const lastLine = new TextDecoder().decode(stdout).trim().split("\n").at(-1) ?? "";
  if (success && lastLine.startsWith("{")) return JSON.parse(lastLine);
  const reason = new TextDecoder().decode(stderr).trim().split("\n").slice(-3).join(" ");
  throw new Error(`llama.cpp on ${device} ended without figures: ${reason}`);
}

/** The part of `node-llama-cpp` that is used here. */
interface LlamaModule {
  getLlama(options: Record<string, unknown>): Promise<Llama>;
}

interface Llama {
  readonly gpu: string | false;
  readonly cpuMathCores: number;
  getGpuDeviceNames(): Promise<string[]>;
  loadModel(options: Record<string, unknown>): Promise<LlamaModel>;
}

interface LlamaModel {
  createContext(options: Record<string, unknown>): Promise<{ getSequence(): LlamaSequence }>;
}

interface LlamaSequence {
  clearHistory(): Promise<void>;
  evaluate(
    tokens: readonly number[],
    options: { readonly temperature: number; readonly yieldEogToken: boolean },
  ): AsyncIterable<number>;
}

/** One prompt and its continuation. */
async function runOnce(
  sequence: LlamaSequence,
  prompt: readonly number[],
  newTokens: number,
): Promise<SpeedRun> {
  await sequence.clearHistory();
  const tokens: number[] = [];
  const start = performance.now();
  let ttftMs = 0;
  // End tokens are treated like any other, so that every engine decodes as many tokens.
  for await (const token of sequence.evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
    if (tokens.length === 0) ttftMs = performance.now() - start;
    tokens.push(token);
    if (tokens.length > newTokens) break;
  }
  const tpotMs = (performance.now() - start - ttftMs) / Math.max(1, tokens.length - 1);
  return { ttftMs, tpotMs, tokens };
}

/** Child process: times llama.cpp and prints one line of JSON. */
async function runChild(
  options: SpeedShape & { readonly module: string; readonly device: string },
): Promise<SpeedFigures> {
  const { getLlama } = await import(`file://${options.module}`) as LlamaModule;
  const isGpu = options.device !== "cpu";
  const llama = await getLlama({ gpu: isGpu && options.device, build: "never", logLevel: "error" });
  const names = isGpu
    ? (await llama.getGpuDeviceNames()).join(", ")
    : `${llama.cpuMathCores} threads`;
  const model = await llama.loadModel({
    modelPath: options.path,
    gpuLayers: isGpu ? "max" : 0,
  });
  const contextSize = options.prompt.length + options.newTokens + 8;
  // Four threads, the package's least, wait for each other at every operation where there are fewer cores.
  const threads = llama.cpuMathCores;
  const batchSize = options.prompt.length;
  const context = await model.createContext({ contextSize, batchSize, threads });
  const sequence = context.getSequence();
  await runOnce(sequence, options.prompt.slice(0, 80), 2);
  const runs = [];
  for (let index = 0; index < options.repetitions; index++) {
    runs.push(await runOnce(sequence, options.prompt, options.newTokens));
  }
  return speedFigures(`llama.cpp, ${options.device} (${names})`, runs);
}

if (import.meta.main) {
  console.log(JSON.stringify(await runChild(JSON.parse(Deno.args[0]!))));
  Deno.exit(0);
}
