/**
 * The command line with fake models, for tests that stop or kill it. `FAKE_DELAY_MS` slows traces.
 *
 * @module
 */

import { runCommandLine } from "../../cli/command_line.ts";
import { extractCommand } from "../../cli/extract.ts";
import { infoCommand } from "../../cli/info.ts";
import { matchCommand } from "../../cli/match.ts";
import { openProcessIo } from "../../cli/process_io.ts";
import { reproduceCommand } from "../../cli/reproduce.ts";
import { fakeEngine, fakeExperiment } from "./fake_engine.ts";

if (import.meta.main) {
  using process = openProcessIo();
  const delayMs = Number(Deno.env.get("FAKE_DELAY_MS") ?? 0);
  const openEngine = fakeEngine({
    delayMs,
    onTrace: (name) => process.io.error(`\ntracing ${name}\n`),
  });
  const commands = [
    reproduceCommand({
      openEngine,
      experiments: [
        fakeExperiment("first", { count: 6, isUntraced: true }),
        fakeExperiment("second"),
      ],
    }),
    extractCommand({ openEngine }),
    matchCommand({ openEngine }),
    infoCommand({ openEngine }),
  ];
  Deno.exitCode = process.exitCode(await runCommandLine(commands, Deno.args, process.io));
}
