/**
 * Measures the memory of this process with a model and a prompt.
 *
 * @module
 */

import { printableText } from "../core/printable.ts";
import { Session } from "../decoding/session/session.ts";
import { loadModel } from "../models/load.ts";
import {
  DEVICE_OPTIONS,
  modelPath,
  onEachDevice,
  Options,
  printDevice,
  printJson,
} from "./timing.ts";

/** Milliseconds between two looks where the system does not remember the most. */
const LOOK_MS = 20;

/** What the code, Deno and its heap may take. */
const PROGRAM_BYTES = 150e6;
/** What weights may take in memory, over their bytes in the file. */
const WEIGHTS_SHARE = 1.25;

/** The most bytes that were resident so far, as Linux remembers it; undefined elsewhere. */
export function rememberedPeak(): number | undefined {
  try {
    const status = Deno.readTextFileSync("/proc/self/status");
    return 1024 * Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1]);
  } catch {
    return undefined;
  }
}

/** Loads a model, runs a prompt, and counts resident bytes; use one device at a time, since memory is not given back. */
export async function benchMemory(args: string[]): Promise<void> {
  const options = new Options(args, { ...DEVICE_OPTIONS, model: "1.5b", prompt: "2048" });
  const path = modelPath(options.values.model);
  const tokens = options.count("prompt");
  await onEachDevice(options, async (device) => {
    let seen = 0;
    const look = () => seen = Math.max(seen, Deno.memoryUsage().rss);
    const timer = setInterval(look, LOOK_MS);
    try {
      using model = await loadModel(path, { device });
      printDevice(device);
      look();
      const loadedBytes = Deno.memoryUsage().rss;
      using session = new Session(model, { capacity: tokens + 2 });
      const ids = model.config.vocabulary;
      const prompt = Array.from({ length: tokens }, (_, at) => at * 7919 % ids);
      await session.prefill(prompt, { logits: "last" });
      await session.nextTokens();
      look();
      const peakBytes = rememberedPeak() ?? seen;
      const { cacheBytes } = session;
      const { name, fileTensorBytes: weightBytes } = model;
      const bar = WEIGHTS_SHARE * weightBytes + cacheBytes + PROGRAM_BYTES;
      const megabytes = (bytes: number) => (bytes / 1e6).toFixed(0);
      console.log(printableText(
        `${name}, prompt ${tokens}: at most ${megabytes(peakBytes)} MB resident, ${
          megabytes(loadedBytes)
        } MB once it was loaded; ${WEIGHTS_SHARE} x its weights of ${megabytes(weightBytes)} MB, ` +
          `its cache of ${megabytes(cacheBytes)} MB and ${megabytes(PROGRAM_BYTES)} MB are ${
            megabytes(bar)
          } MB`,
      ));
      const deviceBytes = device.usage.peakBytes;
      const sizes = { weightBytes, cacheBytes, deviceBytes, loadedBytes, peakBytes, bar };
      printJson("memory", device, { model: name, prompt: tokens, ...sizes });
    } finally {
      clearInterval(timer);
    }
  });
}
