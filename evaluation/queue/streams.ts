/**
 * What a server keeps of an evaluation: a stream of work, from which each piece goes to one worker, and a stream of
 * answers. Names carry the hash of the evaluation, so that many share a server.
 *
 * @module
 */

import type { Consumer, ConsumerConfig, JsMsg, StreamConfig } from "@nats-io/jetstream";
import { DataError } from "../../core/check.ts";
import { contentHash } from "../../core/hash.ts";
import type { WorkItem } from "../work.ts";
import { type QueueServer, serverCode } from "./server.ts";

/** Subjects that hold work, of every evaluation. */
export const WORK_SUBJECTS = "smallkv.*.work.*";

/** Numbers of the server for a consumer and a stream that are not there. */
const MISSING = [10014, 10059];

const WORKERS = "workers";
const EVALUATOR = "evaluator";
/** Time after which an answer that was not stored is sent again. */
const STORE_WAIT_MS = 30_000;
const NANOSECONDS = 1e6;

/** Streams and subjects of an evaluation. */
export class EvaluationStreams {
  /** Hash of the evaluation. */
  readonly id: string;
  /** Stream of work. */
  readonly work: string;
  /** Stream of answers, and of failures. */
  readonly answers: string;
  /** Subject at which the evaluating side says that it is there. */
  readonly presence: string;
  readonly #server: QueueServer;

  /**
   * Names the streams.
   *
   * @param id Hash of the evaluation.
   */
  constructor(server: QueueServer, id: string) {
    this.#server = server;
    this.id = id;
    this.work = `smallkv_${id}_work`;
    this.answers = `smallkv_${id}_answers`;
    this.presence = `smallkv.${id}.evaluator`;
  }

  /** Evaluations that have work on a server. */
  static async list(server: QueueServer): Promise<EvaluationStreams[]> {
    const names = await server.attempt(async () => {
      const found: string[] = [];
      for await (const name of server.manager.streams.names(WORK_SUBJECTS)) found.push(name);
      return found;
    });
    const ids = names.map((name) => /^smallkv_([0-9a-f]+)_work$/.exec(name)?.[1]);
    return ids.filter((id) => id !== undefined).map((id) => new EvaluationStreams(server, id));
  }

  /** Subject of a piece of work, of which the server keeps one at most. */
  workSubject(piece: string): string {
    return `smallkv.${this.id}.work.${piece}`;
  }

  /** Subject of an answer. */
  answerSubject(row: string): string {
    return `smallkv.${this.id}.answer.${row}`;
  }

  /** Subject of a worker's failure with a piece. */
  failureSubject(piece: string): string {
    return `smallkv.${this.id}.failure.${piece}`;
  }

  /** Whether the evaluating side is there. */
  async hasEvaluator(): Promise<boolean> {
    const { connection } = this.#server;
    try {
      await connection.request(this.presence, "", { timeout: 2_000 });
      return true;
    } catch {
      // Nobody listens, or whoever does is busy or gone without a word; it is asked again.
      return false;
    }
  }

  /**
   * Makes what is missing.
   *
   * @param ackWaitMs Time after which a silent worker's piece goes to another.
   */
  async ensure(ackWaitMs: number): Promise<void> {
    const { manager } = this.#server;
    const kept = { retention: "workqueue", storage: "file", discard: "new" } as const;
    const streams: (Partial<StreamConfig> & { readonly name: string })[] = [
      {
        ...kept,
        name: this.work,
        subjects: [this.workSubject("*")],
        max_msgs_per_subject: 1,
        discard_new_per_subject: true,
      },
      {
        ...kept,
        name: this.answers,
        subjects: ["answer", "failure"].map((kind) => `smallkv.${this.id}.${kind}.*`),
      },
    ];
    for (const stream of streams) await this.#server.attempt(() => manager.streams.add(stream));
    await this.#consume(this.work, { durable_name: WORKERS, ack_wait: ackWaitMs * NANOSECONDS });
    await this.#consume(this.answers, {
      durable_name: EVALUATOR,
      ack_wait: STORE_WAIT_MS * NANOSECONDS,
    });
  }

  async #consume(stream: string, config: Partial<ConsumerConfig>): Promise<void> {
    const { consumers } = this.#server.manager;
    const whole = {
      ...config,
      ack_policy: "explicit",
      max_deliver: -1,
      max_ack_pending: -1,
    } as const;
    await this.#server.attempt(() => consumers.add(stream, whole));
  }

  /** Who takes work; undefined if the evaluation is gone. */
  async workers(): Promise<Consumer | undefined> {
    return await this.#consumer(this.work, WORKERS);
  }

  /** Who takes answers, from those on that nobody has stored; undefined if the evaluation is gone. */
  async evaluator(): Promise<Consumer | undefined> {
    return await this.#consumer(this.answers, EVALUATOR);
  }

  async #consumer(stream: string, name: string): Promise<Consumer | undefined> {
    return await this.#unlessMissing(() => this.#server.stream.consumers.get(stream, name));
  }

  /** Pieces that are not done, those in work included; undefined if the evaluation is gone. */
  async workLeft(): Promise<number | undefined> {
    const { streams } = this.#server.manager;
    return (await this.#unlessMissing(() => streams.info(this.work)))?.state.messages;
  }

  /** Removes a piece, so that no worker takes it. */
  async removeWork(piece: string): Promise<void> {
    const { streams } = this.#server.manager;
    const filter = this.workSubject(piece);
    await this.#unlessMissing(() => streams.purge(this.work, { filter }));
  }

  /** Makes answers that were sent but not stored be sent again at once. */
  async resend(): Promise<void> {
    const { consumers } = this.#server.manager;
    await this.#unlessMissing(() => consumers.delete(this.answers, EVALUATOR));
  }

  /** Removes everything. */
  async remove(): Promise<void> {
    const { streams } = this.#server.manager;
    for (const name of [this.work, this.answers]) {
      await this.#unlessMissing(() => streams.delete(name));
    }
  }

  async #unlessMissing<T>(ask: () => Promise<T>): Promise<T | undefined> {
    try {
      return await this.#server.attempt(ask);
    } catch (error) {
      if (MISSING.includes(serverCode(error) ?? 0)) return undefined;
      throw error;
    }
  }
}

/**
 * Reads a piece of work.
 *
 * @throws {DataError} If the message is something else, or of another version.
 */
export function parseWork(message: JsMsg): WorkItem {
  try {
    const work = message.json<WorkItem>();
    const { id, ...content } = work;
    if (work.schema === 1 && id === contentHash(content as never)) return work;
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
  }
  throw new DataError(
    `Cannot do work of ${message.subject}: it must be a piece of an evaluation, version 1: current value is another message`,
  );
}
