/**
 * Every command of the toolkit.
 *
 * @module
 */

import type { Experiment } from "../experiments/experiment.ts";
import { openEngine } from "../experiments/runner/engine.ts";
import type { Command } from "./command.ts";
import { evaluateCommand } from "./evaluate.ts";
import { extractCommand } from "./extract.ts";
import { generateCommand } from "./generate.ts";
import { infoCommand } from "./info.ts";
import { matchCommand } from "./match.ts";
import { reproduceCommand } from "./reproduce.ts";
import { workerCommand } from "./worker.ts";

/**
 * Lists the commands.
 *
 * @param experiments What `reproduce` runs, in the order of its report.
 * @returns Commands on the real devices and models.
 */
export function labCommands(experiments: readonly Experiment[]): readonly Command[] {
  return [
    reproduceCommand({ openEngine, experiments }),
    evaluateCommand({ openEngine }),
    workerCommand({ openEngine }),
    generateCommand({ openEngine }),
    extractCommand({ openEngine }),
    matchCommand({ openEngine }),
    infoCommand({ openEngine }),
  ];
}
