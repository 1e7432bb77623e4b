/**
 * Preloaded into a supervised process: records how it ends and ends it with its supervisor.
 *
 * A driver that aborts leaves the record that it was in use, which is how `supervise.ts` distinguishes it
 * from an error of ours. Only meant for `deno run --preload`, hence the side effects on import.
 *
 * @module
 */

import { DRIVER_EVENT } from "../gpu/dawn.ts";
import { onOrphaned } from "./orphan.ts";

/** Records the first use of WebGPU, before which no driver can end the process. */
function onFirstUse(gpu: GPU, callback: () => void): void {
  const requestAdapter = gpu.requestAdapter.bind(gpu);
  const value: typeof requestAdapter = (options) => {
    callback();
    return requestAdapter(options);
  };
  Object.defineProperty(gpu, "requestAdapter", { value, configurable: true });
}

const file = Deno.env.get("SMALLKV_EXIT_FILE");
if (file !== undefined) {
  const record = (text: string) => {
    try {
      Deno.writeTextFileSync(file, text);
    } catch {
      // The supervisor is gone, and its folder with it; the record has no reader.
    }
  };
  const recordUse = () => record("driver in use");
  if (navigator.gpu) onFirstUse(navigator.gpu, recordUse);
  addEventListener(DRIVER_EVENT, recordUse);
  addEventListener("unload", () => record(String(Deno.exitCode)));
  addEventListener("error", () => record("1"));
  addEventListener("unhandledrejection", () => record("1"));
  onOrphaned(() => Deno.exit(143));
}
