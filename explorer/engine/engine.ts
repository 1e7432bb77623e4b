/**
 * Does what the page asks for, one thing after the other.
 *
 * @module
 */

import { compareHeads } from "../../decoding/scoring/compare_heads.ts";
import { GpuError, LabError } from "../../core/check.ts";
import type { FromEngine, ToEngine } from "../messages.ts";
import { headMap } from "./head_map.ts";
import { extractAttention } from "./extract_attention.ts";
import { ExplorerRun } from "./explorer_run.ts";
import { type OpenPair, openPair } from "./open_pair.ts";
import type { PageFiles } from "./page_files.ts";

/** The engine in its worker. */
export class Engine {
  readonly #files: PageFiles;
  readonly #tell: (message: FromEngine) => void;
  /** Requests run one after the other. */
  #last: Promise<void> = Promise.resolve();
  #pair: OpenPair | undefined;
  #run: { readonly id: number; readonly run: ExplorerRun } | undefined;
  /** Ends what belongs to an earlier run or pair. */
  #stop = new AbortController();

  /**
   * Starts without a pair.
   *
   * @param files Files of the page.
   * @param tell Sends a message to the page.
   */
  constructor(files: PageFiles, tell: (message: FromEngine) => void) {
    this.#files = files;
    this.#tell = tell;
  }

  /**
   * Takes a request.
   *
   * @param request What to do once everything before it is done.
   * @returns A promise of its end.
   */
  take(request: ToEngine): Promise<void> {
    if (request.kind === "open" || request.kind === "start") {
      this.#stop.abort();
      this.#stop = new AbortController();
    }
    const { signal } = this.#stop;
    return this.#last = this.#last.then(() => this.#answer(request, signal));
  }

  async #answer(request: ToEngine, signal: AbortSignal): Promise<void> {
    if (signal.aborted && request.kind !== "open") return;
    try {
      await this.#do(request, signal);
    } catch (error) {
      if (signal.aborted && error === signal.reason) return;
      this.#tell({
        kind: "failed",
        request: request.kind,
        ...("run" in request && { run: request.run }),
        ...(this.#run && { openRun: this.#run.id }),
        message: this.#sentence(error, request),
      });
    }
  }

  #sentence(error: unknown, { kind }: ToEngine): string {
    if (error instanceof GpuError && error.isOutOfMemory) {
      const advice = kind === "open"
        ? "smaller models need less"
        : "a shorter prompt, fewer new tokens or fewer policies need less";
      return this.#files.named(`${error.message}; ${advice}`);
    }
    if (error instanceof LabError) return this.#files.named(error.message);
    const cause = error instanceof Error ? error.stack ?? error.message : String(error);
    return `Something went wrong inside the explorer: ${cause}`;
  }

  async #do(request: ToEngine, signal: AbortSignal): Promise<void> {
    switch (request.kind) {
      case "open":
        return await this.#open(request);
      case "start":
        return await this.#start(request, signal);
      case "step":
        return await this.#step(request, signal);
      case "match": {
        const run = this.#ofRun(request.run);
        if (!run) return;
        const comparison = await compareHeads(this.#pair!, run.prompt, signal);
        return this.#tell({ kind: "matched", run: request.run, comparison });
      }
      case "attend": {
        const received = await this.#ofRun(request.run)?.attend(request.wanted, signal);
        if (!received) return;
        return this.#tell({ kind: "attended", run: request.run, received });
      }
      case "extract": {
        const run = this.#ofRun(request.run);
        if (!run) return;
        const bytes = await extractAttention(this.#pair!.large, run.prompt, {
          ...(request.head && { head: request.head }),
          signal,
        });
        return this.#tell({ kind: "extracted", run: request.run, bytes });
      }
      case "map": {
        const run = this.#ofRun(request.run);
        if (!run) return;
        const map = await headMap(this.#pair!.large, run.prompt, request.head);
        return this.#tell({ kind: "mapped", run: request.run, map });
      }
    }
  }

  /** What was open stays until the new pair is there, unless memory does not allow both. */
  async #open({ source, backend }: ToEngine & { readonly kind: "open" }): Promise<void> {
    const pair = await openPair(source, backend, {
      files: this.#files,
      onProgress: (stage, share) =>
        this.#tell({ kind: "progress", stage, ...(share !== undefined && { share }) }),
    });
    this.#closeRun();
    this.#pair?.[Symbol.dispose]();
    this.#pair = pair;
    this.#tell({ kind: "opened", pair: pair.facts });
  }

  async #start(
    { run: id, request }: ToEngine & { readonly kind: "start" },
    signal: AbortSignal,
  ): Promise<void> {
    if (!this.#pair) return;
    const run = new ExplorerRun(this.#pair, request);
    this.#closeRun();
    this.#run = { id, run };
    const first = await run.start({
      signal,
      onPrompt: (policy, share) =>
        this.#tell({ kind: "progress", stage: `${policy} reads the prompt`, share }),
    });
    this.#tell({ kind: "started", run: id, prompt: run.shownPrompt, first });
  }

  async #step(
    { run: id, wanted }: ToEngine & { readonly kind: "step" },
    signal: AbortSignal,
  ): Promise<void> {
    const run = this.#ofRun(id);
    if (!run || run.isDone) return;
    const steps = await run.step();
    // A step that has run is told in any case; what could not be added up is asked for again, and then says why.
    const received = await run.attend(wanted, signal).catch(() => []);
    this.#tell({ kind: "stepped", run: id, steps, received, isDone: run.isDone });
  }

  #ofRun(id: number): ExplorerRun | undefined {
    return this.#run?.id === id ? this.#run.run : undefined;
  }

  #closeRun(): void {
    this.#run?.run[Symbol.dispose]();
    this.#run = undefined;
  }
}
