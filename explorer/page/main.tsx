/**
 * The page: state, engine and views are joined here.
 *
 * @module
 */

import { render } from "preact";
import type { DroppedFile, FromEngine, FromStore } from "../messages.ts";
import type { Action } from "../state/actions.ts";
import { readAddress, writeAddress } from "../state/address.ts";
import { codeOf } from "../state/code.ts";
import { exportData } from "../state/export_data.ts";
import { reduce } from "../state/reducer.ts";
import { requests, storeRequest } from "../state/requests.ts";
import { type ExplorerState, initialState } from "../state/state.ts";
import { svgText } from "../../views/svg_text.ts";
import { App } from "../views/app.tsx";
import type { PageTools } from "../views/view_props.ts";
import { chosenFiles, droppedFiles } from "./dropped_entries.ts";
import { copyText, pngOf, saveFile, say } from "./leave_page.ts";

/** Time between two steps while they play, in milliseconds: slow enough to follow. */
const PLAY_MS = 140;
/** Time after a change before the address says so; browsers refuse to change it often. */
const ADDRESS_MS = 400;
/** Narrowest and widest figures, in pixels. */
const FIGURE = { min: 260, max: 1160 };

/** Joins state, engine and views. */
class Page {
  readonly #root = document.getElementById("app")!;
  readonly #engine: Worker;
  /** Fetches and keeps models of the hub; started when somebody wants one. */
  #store: Worker | undefined;
  readonly #tools: PageTools;
  #state: ExplorerState;
  #width = 0;
  /** What is drawn: the state of the figures may be behind by a frame. */
  #shown: { readonly state: ExplorerState; readonly figures: ExplorerState };
  #isTurnOfFigures = false;
  #isDrawing = false;
  #playTimer: ReturnType<typeof setInterval> | undefined;
  #addressTimer: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    const assets = new URL("../", import.meta.url);
    this.#engine = new Worker(new URL("engine/worker.js", assets), {
      type: "module",
      name: "engine",
    });
    this.#engine.onmessage = ({ data }: MessageEvent<FromEngine>) => {
      if (data.kind === "extracted") saveFile(data.bytes, "attention.safetensors");
      this.dispatch({ kind: "told", message: data });
    };
    this.#engine.onerror = ({ message }) =>
      this.dispatch({
        kind: "told",
        message: {
          kind: "failed",
          request: "open",
          message: `The engine could not start: this browser must run module workers: ${message}`,
        },
      });
    this.#state = initialState(
      new URL("embedded/", assets).href,
      readAddress(location.hash.slice(1)),
    );
    this.#shown = { state: this.#state, figures: this.#state };
    this.#tools = this.#makeTools();
    this.#listen();
    this.#ask(undefined);
    this.#draw();
  }

  /** Takes an action: the next state, what the engine is asked for, and the views follow from it. */
  readonly dispatch = (action: Action): void => {
    const before = this.#state;
    this.#state = reduce(before, action);
    if (this.#state === before) return;
    this.#ask(before);
    this.#play();
    this.#writeAddress();
    this.#schedule();
  };

  #ask(before: ExplorerState | undefined): void {
    for (const request of requests(before, this.#state)) this.#engine.postMessage(request);
    const request = storeRequest(before, this.#state);
    if (!request) return;
    this.#store ??= this.#startStore();
    this.#store.postMessage(request);
  }

  #startStore(): Worker {
    const worker = new Worker(new URL("../engine/store_worker.js", import.meta.url), {
      type: "module",
      name: "store",
    });
    worker.onmessage = ({ data }: MessageEvent<FromStore>) =>
      this.dispatch({ kind: "hubTold", message: data });
    worker.onerror = ({ message }) =>
      this.dispatch({
        kind: "hubTold",
        message: {
          kind: "storeFailed",
          message: `Models could not be stored: this browser must run module workers: ${message}`,
        },
      });
    return worker;
  }

  #schedule(): void {
    if (this.#isDrawing) return;
    this.#isDrawing = true;
    requestAnimationFrame(() => this.#draw());
  }

  /** Draws texts and figures by turns, a frame each: both at once would hold up what a user does meanwhile. */
  #draw(): void {
    this.#isDrawing = false;
    const state = this.#state;
    this.#isTurnOfFigures &&= this.#shown.figures !== state;
    this.#shown = { ...this.#shown, [this.#isTurnOfFigures ? "figures" : "state"]: state };
    this.#isTurnOfFigures = !this.#isTurnOfFigures;
    const props = { dispatch: this.dispatch, tools: this.#tools, width: this.#width };
    render(<App {...props} {...this.#shown} />, this.#root);
    if (this.#shown.state !== state || this.#shown.figures !== state) this.#schedule();
  }

  #play(): void {
    if (this.#state.isPlaying === (this.#playTimer !== undefined)) return;
    if (this.#state.isPlaying) {
      this.#playTimer = setInterval(() => this.dispatch({ kind: "forward" }), PLAY_MS);
    } else {
      clearInterval(this.#playTimer);
      this.#playTimer = undefined;
    }
  }

  #writeAddress(): void {
    if (!this.#state.run || this.#addressTimer !== undefined) return;
    this.#addressTimer = setTimeout(() => {
      this.#addressTimer = undefined;
      history.replaceState(null, "", `#${writeAddress(this.#state)}`);
    }, ADDRESS_MS);
  }

  #listen(): void {
    const measure = () => {
      const style = getComputedStyle(this.#root);
      const room = this.#root.clientWidth - parseFloat(style.paddingLeft) -
        parseFloat(style.paddingRight) - (innerWidth <= 760 ? 26 : 36);
      const width = Math.round(Math.max(FIGURE.min, Math.min(FIGURE.max, room)));
      if (width === this.#width) return;
      this.#width = width;
      this.#draw();
    };
    measure();
    new ResizeObserver(measure).observe(this.#root);
    const veil = document.getElementById("drop")!;
    addEventListener("dragover", (event) => {
      event.preventDefault();
      veil.hidden = !event.dataTransfer?.types.includes("Files");
    });
    addEventListener("dragleave", (event) => veil.hidden ||= event.relatedTarget === null);
    addEventListener("drop", (event) => {
      event.preventDefault();
      veil.hidden = true;
      if (!event.dataTransfer) return;
      droppedFiles(event.dataTransfer).then(
        this.#takeFiles,
        (error: Error) => say(`Cannot read what was dropped: ${error.message}`),
      );
    });
  }

  readonly #takeFiles = (files: readonly DroppedFile[]): void => {
    if (files.length > 0) this.dispatch({ kind: "files", files });
  };

  #makeTools(): PageTools {
    return {
      copyLink: () => {
        const link = new URL(location.href);
        link.hash = writeAddress(this.#state);
        copyText(link.href, "The link");
      },
      copyCode: () => copyText(codeOf(this.#state.run!.request, this.#state.pair), "The code"),
      saveData: () => saveFile(JSON.stringify(exportData(this.#state)), "explorer.json"),
      saveFigure: async (id, format) => {
        const figure = document.querySelector<SVGSVGElement>(`svg#${id}`);
        if (!figure) return;
        const name = `${id}.${format}`;
        const text = svgText(figure);
        try {
          saveFile(
            format === "svg" ? text : await pngOf(text, figure.getBoundingClientRect()),
            name,
          );
        } catch (error) {
          say(`Cannot save ${name}: ${(error as Error).message}`);
        }
      },
      keepStorage: () => void navigator.storage?.persist?.().catch(() => false),
      chooseFiles: (what) => {
        const input = document.createElement("input");
        input.type = "file";
        input.multiple = true;
        if (what === "folder") input.webkitdirectory = true;
        else input.accept = ".gguf,.safetensors,.json";
        input.onchange = () => this.#takeFiles(chosenFiles(input.files ?? []));
        input.click();
      },
    };
  }
}

new Page();
// Where there are no service workers, as on plain http, the page works as long as its server answers.
navigator.serviceWorker?.register("service_worker.js").catch(() => {});
