/**
 * Every command of the toolkit.
 *
 * @module
 */

import type { Experiment } from "../experiments/experiment.ts";
import type { Command } from "./command.ts";
import { extractCommand } from "./extract.ts";
import { generateCommand } from "./generate.ts";
import { infoCommand } from "./info.ts";
import { openLabEngine } from "./lab_engine.ts";
import { openLabPair } from "./lab_pair.ts";
import { matchCommand } from "./match.ts";
import { reproduceCommand } from "./reproduce.ts";

/**
 * Lists the commands.
 *
 * @param experiments What `reproduce` runs, in the order of its report.
 * @returns Commands on the real devices and models.
 */
export function labCommands(experiments: readonly Experiment[]): readonly Command[] {
  const openEngine = openLabEngine;
  return [
    reproduceCommand({ openEngine, experiments }),
    generateCommand({ openPair: openLabPair }),
    extractCommand({ openEngine }),
    matchCommand({ openEngine }),
    infoCommand({ openEngine }),
  ];
}
