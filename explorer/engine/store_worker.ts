/**
 * The worker that fetches and keeps models of the hub. Files in the browser's storage can be written in place by workers alone.
 *
 * @module
 */

import type { FromStore, ToStore } from "../messages.ts";
import { type BrowserStorage, ModelStore } from "./model_store.ts";
import { StoreService } from "./store_service.ts";

const scope = globalThis as unknown as {
  readonly navigator: { readonly storage?: BrowserStorage };
  onmessage: (event: MessageEvent<ToStore>) => void;
  postMessage(message: FromStore): void;
};
const store = new ModelStore(scope.navigator.storage);
const service = new StoreService(store, (message) => scope.postMessage(message));
scope.onmessage = ({ data }) => void service.take(data);
