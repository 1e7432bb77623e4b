/**
 * The last cell of a notebook: what its text says, checked.
 *
 * @module
 */

import { RequirementError } from "../core/check.ts";
import type { Lab } from "./lab.ts";
import { flush, publish } from "./output.ts";

/**
 * Shows which statements hold.
 *
 * The text of a notebook describes the embedded pair, so with that pair a statement that does not hold is
 * an error; with models of your own it is a finding.
 *
 * @param lab The pair.
 * @param statements Each statement of the text with whether it holds.
 * @throws {RequirementError} If the pair is the embedded one and a statement does not hold, naming it.
 */
export async function conclude(
  { isDefaultPair }: Pick<Lab, "isDefaultPair">,
  statements: Readonly<Record<string, boolean>>,
): Promise<void> {
  const entries = Object.entries(statements);
  const failed = entries.filter(([, holds]) => !holds).map(([text]) => text);
  const lines = entries.map(([text, holds]) => `${holds ? "✓" : "✗"} ${text}`);
  if (failed.length > 0 && !isDefaultPair) {
    lines.push("The text above describes the embedded pair; it does not hold everywhere.");
  }
  await publish({ "text/plain": lines.join("\n") });
  await flush();
  if (failed.length > 0 && isDefaultPair) {
    throw new RequirementError({
      action: "conclude",
      requirement: "the text must hold for the embedded pair",
      state: `differences are: ${failed.join("; ")}`,
    });
  }
}
