/**
 * What the page of `browser_test.ts` runs: it is bundled for a browser.
 *
 * @module
 */

import { traceAttention } from "../../decoding/session/trace.ts";
import type { Backend } from "../../gpu/device.ts";
import { openDevice } from "../../gpu/open_device.ts";
import { loadModel } from "../../models/load.ts";

/** What to run. */
export interface PageInput {
  /** Address of a model's folder. */
  readonly address: string;
  /** Where it runs. */
  readonly backend: Backend | "auto";
  /** A text; the model's own tokenizer encodes it. */
  readonly text: string;
}

/** What the page returns. */
export interface PageOutput {
  /** Where it ran. */
  readonly backend: Backend;
  /** Ids of the text. */
  readonly tokens: readonly number[];
  /** Logits of the next token. */
  readonly logits: readonly number[];
}

/** Loads a model from an address and runs it once. */
export async function runOnce({ address, backend, text }: PageInput): Promise<PageOutput> {
  using device = await openDevice({ backend });
  using model = await loadModel(address, { device });
  const tokens = model.tokenizer!.encode(text);
  const { logits } = await traceAttention(model, tokens, { logits: "last" });
  return { backend: device.info.backend, tokens, logits: [...logits] };
}

Object.assign(globalThis, { runOnce });
