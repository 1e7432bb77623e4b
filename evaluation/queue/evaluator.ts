/**
 * The evaluating side of a queue: puts work in, takes answers out.
 *
 * @module
 */

import type { JsMsg } from "@nats-io/jetstream";
import { DataError } from "../../core/check.ts";
import { contentHash } from "../../core/hash.ts";
import type { ModelPair } from "../../decoding/engine/types.ts";
import { answerId, answerKey, type AnswerRow, ROW_SCHEMA } from "../answer_row.ts";
import type { EvaluationPlan } from "../evaluate.ts";
import { questionIdentity, splitWork, type WorkItem, type WorkOptions } from "../work.ts";
import { isQueuedAlready, type QueueServer } from "./server.ts";
import { EvaluationStreams } from "./streams.ts";

/** What the queue of an evaluation holds. */
export interface QueueState {
  /** Pieces that workers have taken. */
  readonly taken: number;
  /** Pieces that wait for a worker. */
  readonly waiting: number;
}

/** How an evaluation is answered by workers. */
export interface QueueAnswersOptions extends Omit<WorkOptions, "items"> {
  /** Items that a worker takes at once; 4 if left out. */
  readonly items?: number;
  /** Time after which the piece of a silent worker goes to another; 30 s if left out. */
  readonly ackWaitMs?: number;
  /** Told every second what the queue holds. */
  readonly onState?: (state: QueueState) => void;
  /** Told of what could not be used. */
  readonly onWarning?: (warning: string) => void;
}

/** Failures with a piece, or losses of its answers, that end an evaluation. */
const MOST_FAILURES = 3;
/** Answers that are taken at once, and how long to wait for some. */
const ANSWERS = { messages: 256, milliseconds: 1_000 };

/** A piece of work with the answers that are missing of it. */
interface Piece {
  /** Its name in the queue, which does not depend on what is known already. */
  readonly place: string;
  readonly work: WorkItem;
  readonly missing: Set<string>;
  failures: number;
  /** Times that it was put into the queue. */
  sent: number;
}

/**
 * Has workers answer what is open.
 *
 * A row leaves the queue when the next one is asked for, so that whoever iterates must have stored it by then. However this
 * ends, the queue keeps the work and answers that are left, and the same evaluation continues with them; once all is
 * answered, the queue of the evaluation is removed.
 *
 * @param server Where the queue is.
 * @param pair The models, which workers must have, too.
 * @param plan What is open.
 * @param options Items, code, size of a piece, events.
 * @returns Rows, each once.
 * @throws {DataError} If a piece fails again and again, another process evaluates the same, or the server is away.
 */
export async function* queueAnswers(
  server: QueueServer,
  pair: ModelPair,
  plan: EvaluationPlan,
  options: QueueAnswersOptions,
): AsyncGenerator<AnswerRow> {
  const pieces = openPieces(pair, plan, options);
  const streams = new EvaluationStreams(server, pieces.id);
  if (await streams.hasEvaluator()) {
    throw new DataError(
      `Cannot evaluate through the queue at ${server.host}: one process alone must evaluate the same ` +
        `with the same models: current value is another one that does`,
    );
  }
  const presence = server.connection.subscribe(streams.presence, {
    callback: (_, message) => void message.respond(),
  });
  try {
    await streams.resend();
    yield* new Answers({ server, streams, pieces: pieces.open, options }).take();
    await streams.remove();
  } finally {
    presence.unsubscribe();
  }
}

/** Pieces with something open, and the hash of the whole evaluation. */
function openPieces(pair: ModelPair, plan: EvaluationPlan, given: QueueAnswersOptions) {
  const { settings, questions } = plan;
  const { options, code, items = 4 } = given;
  const whole = splitWork(pair, questions.map((question) => ({ question, settings })), {
    options,
    code,
    items,
  });
  const byPlace = new Map(
    questions.map((question) => [`${question.task.name}\n${question.item.id}`, question]),
  );
  const rowId = (work: WorkItem, item: string, setting: number) => {
    const question = byPlace.get(`${work.task}\n${item}`)!;
    return answerId(answerKey(questionIdentity(pair, question, work.settings[setting]!)), code);
  };
  const isOpen = new Set(
    plan.open.flatMap(({ question, settings }) =>
      settings.map((setting) =>
        answerId(answerKey(questionIdentity(pair, question, setting)), code)
      )
    ),
  );
  const open = whole.map((work): Piece => {
    const missing = new Set<string>();
    const rest = work.questions.map((question) => ({
      ...question,
      settings: question.settings.filter((setting) => {
        const id = rowId(work, question.item, setting);
        if (isOpen.has(id)) missing.add(id);
        return isOpen.has(id);
      }),
    })).filter((question) => question.settings.length > 0);
    const { id: place, ...content } = { ...work, questions: rest };
    const id = contentHash(JSON.parse(JSON.stringify(content)));
    return { place, work: { id, ...content }, missing, failures: 0, sent: 0 };
  }).filter(({ missing }) => missing.size > 0);
  return { id: contentHash(whole.map(({ id }) => id)).slice(0, 32), open };
}

/** Answers that come out of a queue. */
class Answers {
  readonly #server: QueueServer;
  readonly #streams: EvaluationStreams;
  readonly #options: QueueAnswersOptions;
  /** Pieces with missing answers, by place. */
  readonly #pieces: Map<string, Piece>;
  /** Pieces by the ids of missing answers. */
  readonly #missing: Map<string, Piece>;

  constructor(
    { server, streams, pieces, options }: {
      readonly server: QueueServer;
      readonly streams: EvaluationStreams;
      readonly pieces: readonly Piece[];
      readonly options: QueueAnswersOptions;
    },
  ) {
    this.#server = server;
    this.#streams = streams;
    this.#options = options;
    this.#pieces = new Map(pieces.map((piece) => [piece.place, piece]));
    this.#missing = new Map(
      pieces.flatMap((piece) => [...piece.missing].map((id) => [id, piece] as const)),
    );
  }

  async *take(): AsyncGenerator<AnswerRow> {
    const { ackWaitMs = 30_000 } = this.#options;
    for (let isSent = false; this.#missing.size > 0;) {
      // In this order: once no work is left, all of its answers are there.
      const left = await this.#streams.workLeft();
      const answers = await this.#streams.evaluator();
      if (left === undefined || answers === undefined) {
        // At the start, and where the server has lost its files.
        await this.#streams.ensure(ackWaitMs);
        for (const piece of this.#pieces.values()) piece.sent = 0;
        isSent = false;
        continue;
      }
      const { num_pending, num_ack_pending } = await answers.info(true);
      if (num_pending + num_ack_pending === 0 && (!isSent || left === 0)) {
        // What was answered before this process started is known by now; later, answers are lost, and asked for again.
        await this.#send();
        isSent = true;
      }
      await this.#tell();
      for await (const message of this.#server.pull(answers, ANSWERS)) {
        const row = await this.#read(message);
        if (row) yield row;
        message.ack();
        if (this.#missing.size === 0) return;
      }
    }
  }

  /** Puts all pieces with missing answers into the queue, except those that are there. */
  async #send(): Promise<void> {
    for (const piece of this.#pieces.values()) {
      if (piece.sent++ >= MOST_FAILURES) {
        throw pieceError(piece, `answers did not come, though it was done ${MOST_FAILURES} times`);
      }
      const { place, work, sent } = piece;
      // The server remembers for a while what it was sent, even if that has left the queue since.
      const options = { msgID: `${work.id}:${sent}` };
      const subject = this.#streams.workSubject(place);
      try {
        await this.#server.attempt(() =>
          this.#server.stream.publish(subject, JSON.stringify(work), options)
        );
      } catch (error) {
        if (!isQueuedAlready(error)) throw error;
      }
    }
  }

  async #tell(): Promise<void> {
    const { onState } = this.#options;
    const info = onState && await (await this.#streams.workers())?.info(true);
    if (!info) return;
    onState?.({ taken: info.num_ack_pending, waiting: info.num_pending });
  }

  /** The answer of a message, if it is missing. */
  async #read(message: JsMsg): Promise<AnswerRow | undefined> {
    const [kind, id] = message.subject.split(".").slice(2) as [string, string];
    if (kind === "failure") {
      await this.#fail(id, message);
      return undefined;
    }
    const piece = this.#missing.get(id);
    if (!piece) return undefined; // It came twice.
    const row = parseRow(message);
    if (row?.id !== id) {
      this.#options.onWarning?.(`The message ${message.subject} is no answer, and is left out`);
      return undefined;
    }
    this.#missing.delete(id);
    piece.missing.delete(id);
    if (piece.missing.size === 0) this.#pieces.delete(piece.place);
    return row;
  }

  /** Counts a failure; the last one ends the evaluation, and the next run tries again. */
  async #fail(place: string, message: JsMsg): Promise<void> {
    message.ack();
    const piece = this.#pieces.get(place);
    if (!piece || ++piece.failures < MOST_FAILURES) return;
    await this.#streams.removeWork(place);
    throw pieceError(piece, `it failed ${MOST_FAILURES} times, at last with: ${message.string()}`);
  }
}

function pieceError({ work }: Piece, current: string): DataError {
  const items = work.questions.map(({ item }) => item).join(", ");
  return new DataError(
    `Cannot evaluate ${work.task}: workers must be able to answer ${items} (piece ${
      work.id.slice(0, 12)
    }): current state is that ${current}`,
  );
}

/** The row of a message, if it is one whose id is right. */
function parseRow(message: JsMsg): AnswerRow | undefined {
  try {
    const row = message.json<AnswerRow>();
    const isWhole = row.schema === ROW_SCHEMA && Array.isArray(row.answers);
    return isWhole && answerId(answerKey(row), row.code) === row.id ? row : undefined;
  } catch {
    return undefined;
  }
}
