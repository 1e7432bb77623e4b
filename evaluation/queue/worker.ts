/**
 * The working side of a queue: takes pieces of evaluations that fit its models, code and data, and sends answers.
 *
 * @module
 */

import type { JsMsg } from "@nats-io/jetstream";
import { delay } from "../../core/aborted.ts";
import { DataError, GpuError, LabError } from "../../core/check.ts";
import type { Task } from "../../data/task.ts";
import { TASKS } from "../../data/tasks/mod.ts";
import type { ModelPair } from "../../decoding/engine/types.ts";
import type { AnswerRow } from "../answer_row.ts";
import { dataPlace, type DataPlaceOptions } from "../questions.ts";
import { type AnswerWorkOptions, runWork, type WorkItem } from "../work.ts";
import { isNobodyThere, type QueueServer } from "./server.ts";
import { EvaluationStreams, parseWork } from "./streams.ts";

/** How a worker works. */
export interface WorkerOptions
  extends
    DataPlaceOptions,
    Pick<AnswerWorkOptions, "code" | "slots" | "maxBytes" | "chunk" | "onProgress"> {
  /** Tasks that it knows; those of the toolkit if left out. */
  readonly tasks?: readonly Task[];
  /** Ends once no work has been left for so long; it waits for more if left out. */
  readonly emptyMs?: number;
  /** Hands back what it has and ends. */
  readonly signal?: AbortSignal;
  /** Told of each piece before it begins. */
  readonly onPiece?: (work: WorkItem) => void;
  /** Told of each answer once the queue has it. */
  readonly onAnswer?: (row: AnswerRow) => void;
  /** Told what does not fit, and what failed. */
  readonly onWarning?: (warning: string) => void;
}

/** Failures in a row after which a worker is to blame, and not its work. */
const MOST_FAILURES = 3;
/** How long to wait for work of one evaluation before the next is asked, and before all are listed again. */
const TAKE_MS = 1_000;
const LIST_MS = 500;
/** How long others have to take what was handed back. */
const HANDED_BACK_MS = 1_000;

/**
 * Answers pieces of evaluations until it is stopped, or no work is left.
 *
 * A piece is acknowledged once the queue has all of its answers; until then a sign of life keeps other workers from it.
 *
 * @param server Where the queue is.
 * @param pair The models.
 * @param options Code, data, limits, events.
 * @returns Number of answers.
 * @throws {DataError} If no evaluation fits its models, code and data, or the server is away.
 * @throws {LabError} What failed, three times in a row, or with the loss of the device.
 */
export async function runWorker(
  server: QueueServer,
  pair: ModelPair,
  options: WorkerOptions,
): Promise<number> {
  const worker = new Worker(server, pair, options);
  await worker.run();
  return worker.answers;
}

class Worker {
  answers = 0;
  readonly #server: QueueServer;
  readonly #pair: ModelPair;
  readonly #options: WorkerOptions;
  /** Why evaluations do not fit, by id. */
  readonly #refused = new Map<string, DataError>();
  #failures = 0;
  #pieces = 0;

  constructor(server: QueueServer, pair: ModelPair, options: WorkerOptions) {
    this.#server = server;
    this.#pair = pair;
    this.#options = options;
  }

  async run(): Promise<void> {
    const { signal, emptyMs = Infinity } = this.#options;
    for (let emptySince = performance.now();;) {
      const found = await this.#evaluations();
      let isEmpty = true;
      for (const streams of found) {
        const left = await this.#takeOne(streams);
        if (left) isEmpty = false;
      }
      this.#checkFit(found);
      const now = performance.now();
      if (!isEmpty) emptySince = now;
      if (now - emptySince >= emptyMs) return;
      if (isEmpty) await delay(Math.min(LIST_MS, emptyMs), signal);
    }
  }

  /** Evaluations whose evaluating side is there, in an order that favors none. */
  async #evaluations(): Promise<EvaluationStreams[]> {
    const all = await EvaluationStreams.list(this.#server);
    const isThere = await Promise.all(all.map((streams) => streams.hasEvaluator()));
    const found = all.filter((_, index) => isThere[index]);
    const start = this.#pieces % Math.max(1, found.length);
    return [...found.slice(start), ...found.slice(0, start)];
  }

  /** Ends where nothing fits, and nothing ever did. */
  #checkFit(found: readonly EvaluationStreams[]): void {
    if (this.#pieces > 0 || found.length === 0) return;
    const refusals = found.map(({ id }) => this.#refused.get(id));
    if (refusals.every((refusal) => refusal !== undefined)) throw refusals[0]!;
  }

  /** Does a piece of an evaluation, if one waits; returns whether any work is left, that of other workers included. */
  async #takeOne(streams: EvaluationStreams): Promise<boolean> {
    if (this.#refused.has(streams.id)) return false;
    const consumer = await streams.workers();
    if (consumer === undefined) return false;
    const { ack_wait = 30e9 } = (await consumer.info(true)).config;
    const limits = { messages: 1, milliseconds: TAKE_MS };
    for await (const message of this.#server.pull(consumer, limits)) {
      await this.#work(streams, message, ack_wait / 1e6);
      return true;
    }
    return (await streams.workLeft() ?? 0) > 0;
  }

  async #work(streams: EvaluationStreams, message: JsMsg, waitMs: number): Promise<void> {
    const { connection } = this.#server;
    const { signal } = this.#options;
    const alive = setInterval(() => message.working(), waitMs / 3);
    try {
      await this.#answer(streams, message);
      // By request, since an acknowledgment that is lost would have all of it done again.
      const timeout = 2_000;
      await this.#server.attempt(() => connection.request(replyOf(message), "+ACK", { timeout }));
      this.#failures = 0;
    } catch (error) {
      message.nak(signal?.aborted ? undefined : HANDED_BACK_MS);
      signal?.throwIfAborted();
      if (this.#server.failure) throw this.#server.failure;
      // Without its stream, an evaluation has ended.
      if (!isNobodyThere(error)) await this.#fail(streams, message, error);
    } finally {
      clearInterval(alive);
    }
  }

  async #answer(streams: EvaluationStreams, message: JsMsg): Promise<void> {
    const { tasks = TASKS, onPiece, onAnswer, ...rest } = this.#options;
    const { emptyMs: _, onWarning: __, dataFolder: ___, onNotice: ____, ...answering } = rest;
    const { large, small } = this.#pair;
    const begin = async () => {
      const work = parseWork(message);
      onPiece?.(work);
      // A small model that an evaluation lacks is of no use to it.
      const pair = { large, ...(small && work.models.small && { small }) };
      const { files = [] } = tasks.find(({ name }) => name === work.task) ?? {};
      const folder = await dataPlace(files, this.#options);
      const rows = runWork(pair, work, { ...answering, tasks, folder });
      return { rows, next: await rows.next() };
    };
    let { rows, next } = await begin().catch((error) => {
      if (error instanceof DataError) this.#refused.set(streams.id, error);
      throw error;
    });
    for (this.#pieces++; !next.done; next = await rows.next()) {
      const row = next.value;
      await this.#send(streams.answerSubject(row.id), JSON.stringify(row));
      this.answers++;
      onAnswer?.(row);
    }
  }

  /** Tells the evaluating side what failed, or that an evaluation is left to others. */
  async #fail(streams: EvaluationStreams, message: JsMsg, error: unknown): Promise<void> {
    const { onWarning } = this.#options;
    const text = error instanceof LabError ? error.message : `Internal error: ${error}`;
    if (this.#refused.has(streams.id)) {
      return onWarning?.(`${text}; the evaluation is left to other workers`);
    }
    const place = message.subject.split(".").at(-1)!;
    await this.#send(streams.failureSubject(place), text);
    const isLost = error instanceof GpuError && error.isDeviceLost;
    if (isLost || !(error instanceof LabError) || ++this.#failures >= MOST_FAILURES) throw error;
    onWarning?.(text);
  }

  /**
   * Sends something once, however often that has to be tried. Its id is its own: the server drops messages with an id that it
   * has seen, even if nobody has the first one any more, and the number of a delivery, which it counts, may begin again.
   */
  async #send(subject: string, text: string): Promise<void> {
    const msgID = crypto.randomUUID();
    await this.#server.attempt(() => this.#server.stream.publish(subject, text, { msgID }));
  }
}

/** Where a message is acknowledged; `ackAck()` cannot be tried again. */
function replyOf(message: JsMsg): string {
  return (message as JsMsg & { readonly reply: string }).reply;
}
