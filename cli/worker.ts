/**
 * `worker`: answers what evaluations on other machines put into a queue.
 *
 * @module
 */

import { counted } from "../core/counted.ts";
import { formatDuration } from "../core/terminal_view.ts";
import { engineCode } from "../evaluation/work.ts";
import type { OpenEngine } from "../experiments/runner/engine.ts";
import { type Command, type CommandCall, type CommandIo, valueOption } from "./command.ts";
import { EXIT } from "./command_line.ts";
import { DEVICE_OPTIONS, MODEL_NOTE, openEngineFor, PAIR_OPTIONS } from "./open.ts";
import { QUEUE_OPTIONS, readQueue } from "./queue.ts";

/** How long a queue must be empty for `--until-empty`. */
const EMPTY_MS = 10_000;

/**
 * Makes the `worker` command.
 *
 * @param parts `openEngine` opens models.
 */
export function workerCommand(parts: { readonly openEngine: OpenEngine }): Command {
  return {
    name: "worker",
    summary: "Answers what evaluations on other machines put into a queue",
    options: {
      ...QUEUE_OPTIONS,
      ...PAIR_OPTIONS,
      data: valueOption("FOLDER", "folder of the datasets; downloaded into the cache if left out"),
      "until-empty": {
        type: "boolean",
        text: `ends when there has been no work for ${
          EMPTY_MS / 1000
        } s, rather than wait for more`,
      },
      slots: valueOption("N", "most answers at a time; as many as memory allows if left out"),
      ...DEVICE_OPTIONS,
    },
    notes: [
      MODEL_NOTE,
      "",
      "Start the evaluation with deno task evaluate ... --queue nats://HOST, and a worker with the same models,",
      "data and version of the toolkit on every machine, in any order. A worker takes work while the evaluating",
      "side runs, and waits otherwise. Ctrl-C hands back what it has begun.",
    ],
    examples: [
      "deno task worker --queue nats://head --large large.gguf --small small.gguf --data data",
      "deno task worker --queue nats://head --large hf:ORG/NAME --until-empty",
    ],
    run: (call, io) => run(parts.openEngine, call, io),
  };
}

async function run(openEngine: OpenEngine, call: CommandCall, io: CommandIo): Promise<number> {
  const address = await readQueue(call);
  const slots = call.has("slots")
    ? { slots: call.number("slots", { min: 1, max: 1 << 20, isInteger: true }) }
    : {};
  if (call.has("small") && !call.has("large")) {
    call.fail("--large must be given with --small: current value is none");
  }
  const [{ QueueServer }, { runWorker }] = await Promise.all([
    import("../evaluation/queue/server.ts"),
    import("../evaluation/queue/worker.ts"),
  ]);
  const onWarning = (warning: string) => io.error(`Warning: ${warning}\n`);
  const { signal } = io;
  // The server first, since models may take minutes to load.
  await using server = await QueueServer.open(address, { signal, onWarning });
  await using engine = await openEngineFor(openEngine, call, { io });
  const open = async (role: "large" | "small") =>
    await (await engine.openModel(role, call.value(role))).load();
  const large = await open("large");
  const hasSmall = !call.has("large") || call.has("small");
  const pair = { large, ...(hasSmall && { small: await open("small") }) };
  io.error(`Waiting for work from ${server.host}\n`);
  const start = performance.now();
  const answers = await runWorker(server, pair, {
    ...slots,
    code: await engineCode(),
    ...(call.value("data") !== undefined && { dataFolder: call.value("data")! }),
    ...(call.has("until-empty") && { emptyMs: EMPTY_MS }),
    signal,
    onWarning,
    onNotice: (notice) => io.error(`${notice}\n`),
    onPiece({ task, id, questions, settings }) {
      const [items, ways] = [questions.length, settings.length];
      const work = `${counted(items, "item")} under ${counted(ways, "setting")}`;
      io.error(`${task}: ${work} (piece ${id.slice(0, 12)})\n`);
    },
  });
  io.error(`${counted(answers, "answer")} in ${formatDuration(performance.now() - start)}\n`);
  return EXIT.ok;
}
