/**
 * Options of commands that use a queue.
 *
 * @module
 */

import { readFile } from "node:fs/promises";
import { fileError } from "../core/file_error.ts";
import type { ModelPair } from "../decoding/engine/types.ts";
import {
  type EvaluateOptions,
  type EvaluationRequest,
  questionOptions,
} from "../evaluation/evaluate.ts";
import type { QueueAnswersOptions } from "../evaluation/queue/evaluator.ts";
import { engineCode } from "../evaluation/work.ts";
import {
  parseQueueAddress,
  parseQueueCredentials,
  type QueueAddress,
} from "../evaluation/queue/address.ts";
import { usageOf } from "./choice_flags.ts";
import { type CommandCall, type OptionSpec, valueOption } from "./command.ts";

/** Options that name a queue. */
export const QUEUE_OPTIONS: Readonly<Record<"queue" | "queue-credentials", OptionSpec>> = {
  queue: valueOption("nats://HOST", "NATS server through which machines share the work"),
  "queue-credentials": valueOption(
    "FILE",
    "what opens the queue: a NATS credentials file, or a line USER:PASSWORD or TOKEN",
  ),
};

/**
 * Reads where the queue is and what opens it.
 *
 * @throws {UsageError} If the address is not one.
 * @throws {DataError} If the file of credentials cannot be read.
 */
export async function readQueue(call: CommandCall): Promise<QueueAddress> {
  const address = usageOf(call, () => parseQueueAddress(call.required("queue")), "queue");
  const path = call.value("queue-credentials");
  if (path === undefined) return address;
  try {
    return { ...address, credentials: parseQueueCredentials(await readFile(path, "utf8")) };
  } catch (cause) {
    throw fileError("read", path, cause);
  }
}

/** Address of a queue without what opens it. */
export function withoutCredentials(address: string): string {
  return address.replace(/\/\/.*@/, "//");
}

/** The queue of an evaluation. */
export interface EvaluationQueue extends AsyncDisposable {
  /** Makes what has workers answer a request. */
  answers(
    pair: ModelPair,
    request: EvaluationRequest,
  ): Promise<NonNullable<EvaluateOptions["answers"]>>;
}

/**
 * Connects to the queue of `--queue`.
 *
 * @param events Signal; told of what happens.
 * @returns The queue, or nothing if the option is not given.
 * @throws {UsageError} If an option is not what it must be.
 * @throws {DataError} If the server cannot be reached.
 */
export async function openQueue(
  call: CommandCall,
  events: Pick<QueueAnswersOptions, "onState" | "onWarning"> & { readonly signal: AbortSignal },
): Promise<EvaluationQueue | undefined> {
  const alone = ["queue-credentials", "piece", "ack-wait"].find((name) => call.has(name));
  if (!call.has("queue")) {
    if (alone) call.fail(`--queue must be given with --${alone}: current value is none`);
    return undefined;
  }
  const address = await readQueue(call);
  const items = call.number("piece", { min: 1, max: 1 << 20, isInteger: true });
  const ackWaitMs = 1000 * call.number("ack-wait", { min: 1, max: 86_400 });
  // Loaded here, since most commands need no queue.
  const [{ QueueServer }, { queueAnswers }] = await Promise.all([
    import("../evaluation/queue/server.ts"),
    import("../evaluation/queue/evaluator.ts"),
  ]);
  const server = await QueueServer.open(address, events);
  return {
    async answers(pair, request) {
      const options = questionOptions(request);
      const code = await engineCode();
      return (plan) =>
        queueAnswers(server, pair, plan, { ...events, options, code, items, ackWaitMs });
    },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}
