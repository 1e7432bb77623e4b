/**
 * Progress of long work, for a terminal, a notebook or no view at all.
 *
 * @module
 */

/** What a view shows. */
export interface ProgressState {
  /** Name of the work. */
  readonly label: string;
  /** Part of the work that is being done; may be empty. */
  readonly stage: string;
  /** What is being done within the stage; may be empty. */
  readonly detail: string;
  /** Finished items. */
  readonly done: number;
  /** All items; 0 while unknown. */
  readonly total: number;
  /** Time since the start. */
  readonly elapsedMs: number;
  /** Expected time to the end; absent until enough is known. */
  readonly remainingMs?: number;
  /** Whether no further state will follow. */
  readonly isFinal: boolean;
}

/** Shows states; a terminal, a notebook cell or a list in a test. */
export type ProgressView = (state: ProgressState) => void;

/** Options of {@linkcode Progress}. */
export interface ProgressOptions {
  /** All items, if known. */
  readonly total?: number;
  /** Shortest time between two shown states; 100 if left out. */
  readonly intervalMs?: number;
  /** Longest time between two shown states, so that the time left counts down; none if left out. */
  readonly refreshMs?: number;
  /** Clock in milliseconds; `performance.now` if left out. */
  readonly now?: () => number;
}

/** One advance of {@linkcode Progress}. */
export interface ProgressStep {
  /** Items finished; 1 if left out. */
  readonly items?: number;
  /** Whether the items took no time, such as those found in a cache; they do not affect the time left. */
  readonly isFree?: boolean;
}

/** Share of all items, or time spent on some, from which on the time left is estimated. */
const LEAST_SHARE = 0.03;
const LEAST_MS = 30_000;

/**
 * Counts items and tells a view, at most ten times a second; the last state is always shown.
 *
 * @example
 * ```ts
 * const states: ProgressState[] = [];
 * const progress = new Progress("Load", (state) => states.push(state), { total: 2 });
 * progress.advance();
 * progress.advance();
 * progress.finish();
 * ```
 */
export class Progress implements Disposable {
  readonly #label: string;
  readonly #view: ProgressView;
  readonly #intervalMs: number;
  readonly #now: () => number;
  readonly #startedAt: number;
  readonly #refresh: ReturnType<typeof setInterval> | undefined;
  #total: number;
  #done = 0;
  /** Items that cost time, the time they cost, and when the last item was counted. */
  #paid = 0;
  #paidMs = 0;
  #countedAt: number;
  #stage = "";
  #detail = "";
  #shownAt = -Infinity;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isFinal = false;

  /**
   * Shows the first state.
   *
   * @param label Name of the work.
   * @param view Where it is shown.
   * @param options Total, interval and clock.
   */
  constructor(label: string, view: ProgressView, options: ProgressOptions = {}) {
    this.#label = label;
    this.#view = view;
    this.#total = options.total ?? 0;
    this.#intervalMs = options.intervalMs ?? 100;
    this.#now = options.now ?? (() => performance.now());
    this.#startedAt = this.#now();
    this.#countedAt = this.#startedAt;
    if (options.refreshMs !== undefined) {
      this.#refresh = setInterval(() => this.#request(), options.refreshMs);
    }
    this.#show();
  }

  /** The state as of now. */
  get state(): ProgressState {
    const now = this.#now();
    const remainingMs = this.#remainingMs(now);
    return {
      label: this.#label,
      stage: this.#stage,
      detail: this.#detail,
      done: this.#done,
      total: this.#total,
      elapsedMs: now - this.#startedAt,
      ...(remainingMs === undefined ? {} : { remainingMs }),
      isFinal: this.#isFinal,
    };
  }

  /**
   * Adds to the total when work turns out to have more parts.
   *
   * @param items How many; negative if some are not needed.
   */
  extend(items: number): void {
    this.#total = Math.max(this.#done, this.#total + items);
    this.#request();
  }

  /**
   * Counts finished items.
   *
   * @param step How many.
   */
  advance(step: ProgressStep = {}): void {
    const items = step.items ?? 1;
    const now = this.#now();
    this.#done += items;
    if (step.isFree !== true) {
      this.#paid += items;
      this.#paidMs += now - this.#countedAt;
    }
    this.#countedAt = now;
    if (this.#total > 0) this.#total = Math.max(this.#total, this.#done);
    this.#request();
  }

  /** Excludes the time since the last item from the estimate, for example after loading a model. */
  exclude(): void {
    this.#countedAt = this.#now();
  }

  /**
   * Says what is being done now.
   *
   * @param stage Part of the work.
   * @param detail A few words about the current step.
   */
  describe(stage: string, detail = ""): void {
    this.#stage = stage;
    this.#detail = detail;
    this.#request();
  }

  /** Shows the last state at once; later calls change nothing. */
  finish(): void {
    if (this.#isFinal) return;
    this.#isFinal = true;
    clearInterval(this.#refresh);
    this.#show();
  }

  /** The same as `finish`. */
  [Symbol.dispose](): void {
    this.finish();
  }

  #remainingMs(now: number): number | undefined {
    // A first short item, or one that compiles kernels, says little about all others.
    const isKnown = this.#paid >= LEAST_SHARE * this.#total || this.#paidMs >= LEAST_MS;
    if (this.#paid <= 0 || this.#total === 0 || !isKnown) return undefined;
    const left = Math.max(0, this.#total - this.#done);
    return Math.max(0, this.#paidMs / this.#paid * left - (now - this.#countedAt));
  }

  #request(): void {
    if (this.#isFinal) return;
    const wait = this.#shownAt + this.#intervalMs - this.#now();
    if (wait <= 0) return this.#show();
    this.#timer ??= setTimeout(() => this.#show(), wait);
  }

  #show(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#shownAt = this.#now();
    this.#view(this.state);
  }
}
