/**
 * Does what the page asks about models of the hub: fetches, lists and removes them, apart from the engine, which continues
 * meanwhile.
 *
 * @module
 */

import { LabError } from "../../core/check.ts";
import type { FetchProgress, FromStore, ToStore } from "../messages.ts";
import { fetchModel } from "./hub_fetch.ts";
import { planModel } from "./hub_plan.ts";
import type { ModelStore } from "./model_store.ts";

/** Time between two reports of progress, and over which speed is measured, in milliseconds. */
const TELL_MS = 100;
const SPEED_MS = 4000;

/** The store in its worker. */
export class StoreService {
  readonly #store: ModelStore;
  readonly #tell: (message: FromStore) => void;
  /** Requests run one after the other; stopping does not wait. */
  #last: Promise<void> = Promise.resolve();
  #stop = new AbortController();

  /**
   * Does nothing yet.
   *
   * @param store Where models are kept.
   * @param tell Sends a message to the page.
   */
  constructor(store: ModelStore, tell: (message: FromStore) => void) {
    this.#store = store;
    this.#tell = tell;
  }

  /**
   * Takes a request.
   *
   * @returns A promise of its end.
   */
  take(request: ToStore): Promise<void> {
    if (request.kind === "stop") {
      this.#stop.abort();
      return this.#last;
    }
    if (request.kind === "fetch") this.#stop = new AbortController();
    const { signal } = this.#stop;
    return this.#last = this.#last.then(() => this.#answer(request, signal));
  }

  async #answer(request: ToStore, signal: AbortSignal): Promise<void> {
    try {
      if (request.kind === "remove") await this.#store.remove(request.reference);
      if (request.kind === "fetch") await this.#fetch(request, signal);
    } catch (error) {
      if (signal.aborted && error === signal.reason) this.#tell({ kind: "stopped" });
      else this.#tell({ kind: "storeFailed", message: sentence(error) });
      return await this.#list().catch(() => {}); // One sentence is enough.
    }
    await this.#list().catch((error) =>
      this.#tell({ kind: "storeFailed", message: sentence(error) })
    );
  }

  async #list(): Promise<void> {
    this.#tell({ kind: "stored", models: await this.#store.list() });
  }

  async #fetch(
    { references, hub }: ToStore & { readonly kind: "fetch" },
    signal: AbortSignal,
  ): Promise<void> {
    const stored = await this.#store.list();
    for (const reference of references) {
      if (stored.some((model) => model.reference === reference && model.isWhole)) continue;
      const onProgress = this.#reporter();
      onProgress({ reference, stage: "asking", doneBytes: 0, totalBytes: 0 });
      const plan = await planModel(hub, reference, signal);
      await fetchModel(plan, { hub, store: this.#store, signal, onProgress });
    }
    this.#tell({ kind: "fetched", references });
  }

  /** Adds the speed to what is told, and tells it now and then. */
  #reporter(): (progress: FetchProgress) => void {
    const seen: { readonly at: number; readonly bytes: number }[] = [];
    let told = -Infinity;
    let stage: FetchProgress["stage"] | undefined;
    return (progress) => {
      const at = performance.now();
      const isNew = progress.stage !== stage;
      if (isNew) seen.length = 0;
      if (!isNew && at - told < TELL_MS && progress.doneBytes < progress.totalBytes) return;
      [told, stage] = [at, progress.stage];
      seen.push({ at, bytes: progress.doneBytes });
      while (seen[0]!.at < at - SPEED_MS) seen.shift();
      const { at: start, bytes } = seen[0]!;
      const speed = (progress.doneBytes - bytes) / (at - start) * 1000;
      const bytesPerSecond = speed > 0 && Number.isFinite(speed) ? { bytesPerSecond: speed } : {};
      this.#tell({ kind: "fetching", progress: { ...progress, ...bytesPerSecond } });
    };
  }
}

function sentence(error: unknown): string {
  if (error instanceof LabError) return error.message;
  const cause = error instanceof Error ? error.stack ?? error.message : String(error);
  return `Something went wrong inside the explorer: ${cause}`;
}
