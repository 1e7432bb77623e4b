/**
 * The page's worker: everything that computes runs here, so that the page never waits.
 *
 * @module
 */

import type { FromEngine, ToEngine } from "../messages.ts";
import { Engine } from "./engine.ts";
import { PageFiles } from "./page_files.ts";

const files = new PageFiles();
// Models are read from addresses; those of the page's own files are answered here.
globalThis.fetch = files.serve(globalThis.fetch.bind(globalThis));

const scope = globalThis as unknown as {
  onmessage: (event: MessageEvent<ToEngine>) => void;
  postMessage(message: FromEngine): void;
};
const engine = new Engine(files, (message) => scope.postMessage(message));
scope.onmessage = ({ data }) => void engine.take(data);
