/**
 * Requests whose prompts have been run, until all of their settings have taken them.
 *
 * @module
 */

import type { PromptRunner, RanPrompt } from "../engine/prompt_runner.ts";
import type { PromptSnapshot } from "../engine/snapshots.ts";
import type { AnswerRequest } from "./answers.ts";

/** A request under one of its settings. Disposing it tells that its prompt is not needed any more. */
export interface AnswerItem extends Disposable {
  /** The request. */
  readonly request: AnswerRequest;
  /** Index of the setting. */
  readonly setting: number;
  /** What the sequence begins with. */
  readonly snapshot: PromptSnapshot;
  /** Its share of the seconds that the prompt took. */
  readonly seconds: number;
}

/** A request whose prompt is on the device. */
interface OpenRequest {
  readonly request: AnswerRequest;
  readonly ran: RanPrompt;
  readonly seconds: number;
  /** Settings that have not taken it. */
  readonly left: Set<number>;
  /** Items that have not been disposed. */
  items: number;
}

/** How prompts are run ahead. */
interface SourceOptions {
  /** Throws if a request cannot be answered. */
  readonly check: (request: AnswerRequest) => void;
  /** Bytes of prompts after which no further one is run. */
  readonly maxBytes: number;
  /** Stops between chunks of prompts with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Called after each prompt with the tokens that were run. */
  readonly onPrompt: (tokens: number) => void;
}

/** The prompt after which the cache is first compressed, in a part that others share and a rest. */
function firstTokens({ prefix, turns: [first], compressAfter }: AnswerRequest) {
  if (compressAfter !== "prefix") return { prefix, rest: first! };
  return { prefix: prefix.slice(0, -1), rest: prefix.slice(-1) };
}

/** Runs prompts when items of them are wanted. Disposing it frees them, but not the runner. */
export class AnswerSource implements AsyncDisposable {
  readonly #requests: Iterator<AnswerRequest> | AsyncIterator<AnswerRequest>;
  readonly #runner: PromptRunner;
  readonly #options: SourceOptions;
  /** Oldest first. */
  readonly #open = new Set<OpenRequest>();
  #isEnded = false;

  /** Starts before the first request. */
  constructor(
    requests: Iterable<AnswerRequest> | AsyncIterable<AnswerRequest>,
    runner: PromptRunner,
    options: SourceOptions,
  ) {
    this.#requests = Symbol.asyncIterator in requests
      ? requests[Symbol.asyncIterator]()
      : requests[Symbol.iterator]();
    this.#runner = runner;
    this.#options = options;
  }

  /** Whether every item has been taken and disposed. */
  get isDone(): boolean {
    return this.#isEnded && this.#open.size === 0;
  }

  /**
   * Takes the oldest item of some settings.
   *
   * @param settings Indices of the settings.
   * @returns The item; undefined if none is left, or as long as too many prompts wait for other settings.
   * @throws {RequirementError} If the next request cannot be answered.
   */
  async take(settings: ReadonlySet<number>): Promise<AnswerItem | undefined> {
    while (true) {
      for (const open of this.#open) {
        const setting = open.request.settings.find((one) =>
          open.left.has(one) && settings.has(one)
        );
        if (setting !== undefined) return this.#item(open, setting);
      }
      if (!await this.#pull()) return undefined;
    }
  }

  /** Frees the prompts. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const { ran } of this.#open) ran[Symbol.dispose]();
    this.#open.clear();
    if (!this.#isEnded) await this.#requests.return?.();
  }

  #item(open: OpenRequest, setting: number): AnswerItem {
    open.left.delete(setting);
    return {
      request: open.request,
      setting,
      snapshot: open.ran.snapshots.get(setting)!,
      seconds: open.seconds / open.ran.snapshots.size,
      [Symbol.dispose]: () => {
        if (--open.items > 0) return;
        open.ran[Symbol.dispose]();
        this.#open.delete(open);
      },
    };
  }

  /** Runs the next prompt; false if there is none, or too many wait. */
  async #pull(): Promise<boolean> {
    const { check, maxBytes, signal, onPrompt } = this.#options;
    const held = [...this.#open].reduce((sum, { ran }) => sum + ran.byteLength, 0);
    if (this.#isEnded || held > maxBytes) return false;
    signal?.throwIfAborted();
    const { value: request, done } = await this.#requests.next();
    this.#isEnded = done === true;
    if (done) return false;
    check(request);
    const settings = [...new Set(request.settings)];
    if (settings.length === 0) return true;
    const start = performance.now();
    const events = signal ? { signal } : {};
    const ran = await this.#runner.run({ ...firstTokens(request), settings }, events);
    const seconds = (performance.now() - start) / 1000;
    const items = settings.length;
    this.#open.add({ request, ran, seconds, left: new Set(settings), items });
    onPrompt(ran.tokens);
    return true;
  }
}
