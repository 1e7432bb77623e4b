/**
 * Opens the engine of a command.
 *
 * @module
 */

import type { Progress } from "../core/progress.ts";
import { CLEAR_LINE } from "../core/terminal_view.ts";
import { MAX_THREADS } from "../gpu/cpu_device.ts";
import { ACTIVATION_BITS, type ActivationBits, BACKENDS } from "../gpu/device.ts";
import type { Engine, EngineOptions, OpenEngine } from "../experiments/runner/engine.ts";
import { SHAPES } from "../kernels/shapes.ts";
import { type CommandCall, type CommandIo, type OptionSpec, valueOption } from "./command.ts";

const SHAPE_KINDS = SHAPES.map(({ kind }) => kind).join(", ");

/** Options that choose the device. */
export const DEVICE_OPTIONS: Readonly<
  Record<"device" | "threads" | "activation-bits" | "shapes", OptionSpec>
> = {
  device: {
    type: "string",
    choices: ["auto", ...BACKENDS],
    default: "auto",
    text: "device to compute on; auto takes a GPU where there is one, else cpu",
  },
  threads: valueOption("N", "threads of the device cpu; the cores of the machine if left out"),
  "activation-bits": {
    type: "string",
    choices: ACTIVATION_BITS.map(String),
    text:
      "bits of activations in products: on cpu 16 if left out, on webgpu and dawn 32; less is " +
      "faster on GPUs and less exact, and results name it",
  },
  shapes: valueOption(
    "SHAPES",
    `shapes of kernels on webgpu: auto, ${SHAPE_KINDS}, tuned, or a file of deno task tune`,
    "auto",
  ),
};

/** What MODEL stands for in the help. */
export const MODEL_NOTE =
  "MODEL is a .gguf or .safetensors file, any part of a split .gguf file, a folder, or hf:ORG/NAME.";

/** Options that name a pair. */
export const PAIR_OPTIONS: Readonly<Record<"large" | "small", OptionSpec>> = {
  large: valueOption("MODEL", "large model; the embedded one if left out"),
  small: valueOption("MODEL", "small model; the embedded one if left out"),
};

/**
 * Opens the engine on the device of `--device`, with the datasets of `--data`.
 *
 * @param openEngine Opens it.
 * @param options `io` shows warnings, `progress` what is loaded.
 */
export async function openEngineFor(
  openEngine: OpenEngine,
  call: CommandCall,
  options: { readonly io: CommandIo; readonly progress?: Progress },
): Promise<Engine> {
  const dataFolder = call.value("data");
  const { isInteractive } = options.io;
  options.progress?.describe("opening");
  return await openEngine({
    device: call.required("device") as NonNullable<EngineOptions["device"]>,
    ...(call.has("threads") && {
      threads: call.number("threads", { min: 1, max: MAX_THREADS, isInteger: true }),
    }),
    ...(call.has("activation-bits") && {
      activationBits: Number(call.required("activation-bits")) as ActivationBits,
    }),
    shapes: call.required("shapes"),
    ...(dataFolder === undefined ? {} : { dataFolder }),
    onProgress(detail, share) {
      options.progress?.describe(detail, `${Math.floor(100 * share)}%`);
      options.progress?.exclude();
    },
    // The progress line is taken away, and drawn again below.
    onNotice: (notice) => options.io.error(`${isInteractive ? CLEAR_LINE : ""}${notice}\n`),
    onWarning: (warning) =>
      options.io.error(`${isInteractive ? CLEAR_LINE : ""}Warning: ${warning}\n`),
  });
}
