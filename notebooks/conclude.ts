/**
 * The last cell of a notebook: what its text says, checked.
 *
 * @module
 */

import { flush, publish } from "./output.ts";

/**
 * Shows statements that hold, and fails if one does not.
 *
 * @param statements Each statement of the text with whether it holds.
 * @throws {Error} If a statement does not hold, naming it.
 */
export async function conclude(statements: Readonly<Record<string, boolean>>): Promise<void> {
  const entries = Object.entries(statements);
  const lines = entries.map(([text, holds]) => `${holds ? "✓" : "✗"} ${text}`);
  await publish({ "text/plain": lines.join("\n") });
  await flush();
  const failed = entries.filter(([, holds]) => !holds).map(([text]) => text);
  if (failed.length > 0) throw new Error(`The text does not hold here: ${failed.join("; ")}`);
}
