/**
 * Runs in the page, on the GPU of the visitor; `serve.ts` bundles and serves it.
 *
 * Imports modules rather than the entries of the package, which also hold code that reads files.
 *
 * @module
 */

import { generate } from "../../decoding/text/generate.ts";
import type { Backend } from "../../gpu/device.ts";
import { openDevice } from "../../gpu/open_device.ts";
import { loadModel } from "../../models/load.ts";

/** What is continued, and with what. */
export interface PageRun {
  /** Address of the folder with both models, with a slash at the end. */
  readonly pair: string;
  /** Text to continue. */
  readonly prompt: string;
  /** Name of a cache policy. */
  readonly policy: string;
  /** Share of the full cache. */
  readonly budget: number;
  /** Where to compute; on a GPU if there is one, else on the processor, if left out. */
  readonly backend?: Backend;
}

/**
 * Continues a text.
 *
 * @param run Models, text and policy.
 * @returns Pieces of text as they become certain.
 */
export async function* continueText(run: PageRun): AsyncGenerator<string> {
  const { pair, prompt, policy, budget, backend = "auto" } = run;
  using device = await openDevice({ backend });
  using large = await loadModel(`${pair}large/`, { device });
  using small = await loadModel(`${pair}small/`, { device });
  const options = { policy, budget, maxNewTokens: 12 };
  for await (const { text } of generate({ large, small }, prompt, options)) yield text;
}
