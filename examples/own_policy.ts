/**
 * A cache policy in one record, compared with two of the library's: `deno run -A examples/own_policy.ts [PROMPT]`
 *
 * @module
 */

import {
  embeddedPair,
  evaluationItems,
  generateAll,
  loadModel,
  type Policy,
  resolvePolicy,
  wholeEntries,
} from "@smallkv/lab";

/** Keeps evenly spaced tokens, the newest one among them. */
export const spaced: Policy = {
  name: "spaced",
  summary: "evenly spaced tokens",
  saliencySource: "none",
  candidates: "all",
  timing: "before",
  granularity: "layer",
  interval: 1,
  ties: "earlier",
  counts({ budget, tokens }) {
    return { sink: 0, recent: 1, critical: wholeEntries(budget, tokens) - 1, marginal: 0 };
  },
  plan({ tokens }, { recent, critical }) {
    const count = Math.min(tokens, recent + critical);
    const kept = Array.from({ length: count }, (_, k) => Math.floor((k + 1) * tokens / count) - 1);
    return { full: Uint32Array.from(kept), valueOnly: new Uint32Array(0) };
  },
};

/**
 * Continues a prompt under the policy and under two others.
 *
 * @param prompt A text of the embedded pair's world.
 * @returns Text by policy.
 */
export async function compare(prompt: string): Promise<Record<string, string>> {
  const files = embeddedPair();
  using large = await loadModel(files.large);
  using small = await loadModel(files.small, { device: large.device });
  const texts: Record<string, string> = {};
  for (const policy of [resolvePolicy(spaced), "h2o", "smallkv"]) {
    const options = { policy, budget: 0.3, maxNewTokens: 12 };
    const { sequences } = await generateAll({ large, small }, prompt, options);
    texts[typeof policy === "string" ? policy : policy.name] = sequences[0]!.text;
  }
  return texts;
}

if (import.meta.main) {
  const prompt = Deno.args[0] ?? evaluationItems("route", { count: 1 })[0]!.prompt;
  console.log(prompt);
  console.table(await compare(prompt));
}
