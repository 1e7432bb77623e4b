/**
 * `reproduce`: its options and help.
 *
 * @module
 */

import type { Command } from "./command.ts";
import { reproduce, type ReproduceParts, SCALES } from "./reproduce_run.ts";

/**
 * Makes the `reproduce` command.
 *
 * @param parts Engine and experiments.
 * @returns The command.
 */
export function reproduceCommand(parts: ReproduceParts): Command {
  const width = Math.max(0, ...parts.experiments.map(({ name }) => name.length));
  return {
    name: "reproduce",
    summary: "Measures what the paper claims and compares",
    operands: "[NAME...]",
    options: {
      large: { type: "string", placeholder: "MODEL", text: "model that is compressed" },
      small: { type: "string", placeholder: "MODEL", text: "its helper, with the same tokenizer" },
      other: { type: "string", placeholder: "MODEL", text: "model of another family" },
      data: { type: "string", placeholder: "FOLDER", text: "datasets" },
      scale: { type: "string", choices: SCALES, default: "smoke", text: "how much to measure" },
      policies: { type: "boolean", text: "with --large: also decodes under policies (hours)" },
      seed: { type: "string", placeholder: "N", default: "1", text: "seed of everything random" },
      force: { type: "boolean", text: "measures again what is finished" },
      strict: { type: "boolean", text: "ends with 3 if a comparable claim differs" },
      out: { type: "string", placeholder: "FOLDER", default: "results", text: "results" },
      device: {
        type: "string",
        choices: ["auto", "webgpu", "reference"],
        default: "auto",
        text: "where to compute",
      },
    },
    notes: [
      "MODEL is a .gguf or .safetensors file, a folder, or hf:ORG/NAME; left out, the embedded pair.",
      "A stopped run goes on where it was when the same command is given again.",
      "Results lie in OUT/SCALE, those of other than the embedded pair in a folder of their own there.",
      "",
      "Names:",
      ...parts.experiments.map(({ name, question }) => `  ${name.padEnd(width)}  ${question}`),
    ],
    examples: [
      "deno task reproduce",
      "deno task reproduce --scale small --large large.gguf --small small.gguf --data data",
      `deno task reproduce ${parts.experiments[0]?.name ?? "NAME"} --seed 2 --strict`,
    ],
    run: (call, io) => reproduce(parts, call, io),
  };
}
