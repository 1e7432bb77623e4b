/**
 * Opens the engine of a command that runs a model once or twice.
 *
 * @module
 */

import type { CommandCall, OptionSpec } from "./command.ts";
import type { Engine, OpenEngine } from "./engine.ts";

/** Option that chooses the device. */
export const DEVICE_OPTION: OptionSpec = {
  type: "string",
  choices: ["auto", "webgpu", "reference"],
  default: "auto",
  text: "where to compute",
};

/**
 * Opens the engine on the device of `--device`.
 *
 * @param openEngine Opens it.
 * @param call The command line.
 * @returns The engine.
 */
export async function openSilently(openEngine: OpenEngine, call: CommandCall): Promise<Engine> {
  return await openEngine({ device: call.required("device") });
}
