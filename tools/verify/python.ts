/**
 * Runs transformers, which the comparison is made with, in a Python of the user's.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { DataError } from "../../core/check.ts";
import { isObject } from "../../models/files/ranged_file.ts";

/** Exit codes of `reference.py`. */
const [MISSING, REFUSED] = [3, 4];

/** How the reference is run. */
export interface ReferenceRun {
  /** Path or name of the interpreter. */
  readonly python: string;
  /** Name of the model, for messages. */
  readonly name: string;
  /** Options of `reference.py`. */
  readonly args: readonly string[];
  /** Ends it. */
  readonly signal: AbortSignal;
}

/** What `reference.py` says about itself. */
export interface ReferenceAnswer {
  /** Version of transformers. */
  readonly transformers: string;
  /** Version of PyTorch. */
  readonly torch: string;
  /** Whether its tokenizer makes the same ids, null if unknown, and why not. */
  readonly tokenizer: { readonly agrees: boolean | null; readonly reason?: string };
}

/**
 * Runs `reference.py`, offline and in UTF-8.
 *
 * @returns What it says; its tensors are in the file of `--out`.
 * @throws {DataError} If Python or packages are missing, or transformers cannot be the yardstick of this model.
 */
export async function runReference(run: ReferenceRun): Promise<ReferenceAnswer> {
  const { python, name, signal } = run;
  const script = fileURLToPath(new URL("reference.py", import.meta.url));
  const output = await startPython(python, [script, ...run.args], signal).catch((cause) => {
    throw cannotVerify(name, "--python must name a Python interpreter", python, cause);
  });
  signal.throwIfAborted();
  const said = lastJson(output.stdout);
  if (output.success && said !== undefined) return said as unknown as ReferenceAnswer;
  if (output.code === MISSING && Array.isArray(said?.missing)) {
    const install = `${python} -m pip install ${said.missing.join(" ")}`;
    throw new DataError(
      `Cannot verify ${name}: ${python} must have the packages of transformers: missing ones are ${
        said.missing.join(", ")
      }; ${install} installs them`,
    );
  }
  if (output.code === REFUSED) {
    throw new DataError(`Cannot verify ${name}: ${said?.requirement}: current ${said?.state}`);
  }
  const end = new TextDecoder().decode(output.stderr).trim().split("\n").slice(-3).join(" / ");
  throw cannotVerify(name, "transformers must run the model", end || `exit code ${output.code}`);
}

async function startPython(
  python: string,
  args: string[],
  signal: AbortSignal,
): Promise<Deno.CommandOutput> {
  const env = { HF_HUB_OFFLINE: "1", PYTHONUTF8: "1", TRANSFORMERS_VERBOSITY: "error" };
  return await new Deno.Command(python, {
    args,
    env: { ...env, TQDM_DISABLE: "1" },
    stdin: "null",
    signal,
  }).output();
}

function cannotVerify(name: string, must: string, current: string, cause?: unknown): DataError {
  return new DataError(`Cannot verify ${name}: ${must}: current value is ${current}`, { cause });
}

function lastJson(bytes: Uint8Array): Record<string, unknown> | undefined {
  try {
    const line = new TextDecoder().decode(bytes).trim().split("\n").at(-1)!;
    const value: unknown = JSON.parse(line);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
