/**
 * Child process of `peers.ts`: times llama.cpp and prints one line of JSON.
 *
 * @module
 */

import type { SpeedFigures, SpeedShape } from "./figures.ts";

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
): Promise<{ ttftMs: number; tpotMs: number; tokens: number[] }> {
  await sequence.clearHistory();
  const tokens: number[] = [];
  const start = performance.now();
  let ttftMs = 0;
  // Ends of text are tokens as any other, so that every engine decodes as many.
  for await (const token of sequence.evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
    if (tokens.length === 0) ttftMs = performance.now() - start;
    tokens.push(token);
    if (tokens.length > newTokens) break;
  }
  const tpotMs = (performance.now() - start - ttftMs) / Math.max(1, tokens.length - 1);
  return { ttftMs, tpotMs, tokens };
}

async function main(
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
  return {
    engine: `llama.cpp, ${options.device} (${names})`,
    ttftMs: runs.map(({ ttftMs }) => ttftMs),
    tpotMs: runs.map(({ tpotMs }) => tpotMs),
    tokens: runs.at(-1)!.tokens,
  };
}

if (import.meta.main) {
  console.log(JSON.stringify(await main(JSON.parse(Deno.args[0]!))));
  Deno.exit(0);
}
