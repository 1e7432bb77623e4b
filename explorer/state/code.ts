/**
 * A run as lines for a script or a notebook.
 *
 * @module
 */

import type { PairState } from "./state.ts";
import type { RunRequest } from "../messages.ts";

/**
 * Writes a program that does what a run does.
 *
 * @param request The run.
 * @param pair Its models.
 * @returns TypeScript.
 */
export function codeOf(request: RunRequest, { facts }: Pick<PairState, "facts">): string {
  const isEmbedded = facts?.isEmbedded ?? true;
  const imports = [
    ...(isEmbedded ? ["embeddedPair"] : []),
    ...(request.reads === "own" ? ["generateAll"] : []),
    "loadModel",
    ...(request.reads === "full" ? ["teacherForceSettings"] : []),
  ].sort();
  const settings = `${JSON.stringify(request.policies).replaceAll(",", ", ")}`;
  return `import { ${imports.join(", ")} } from "@smallkv/lab";

${models(isEmbedded, facts)}
const prompt = ${JSON.stringify(request.prompt)};
${request.reads === "own" ? ownTexts(request, settings) : oneText(request, settings)}`;
}

function models(isEmbedded: boolean, facts: PairState["facts"]): string {
  if (!isEmbedded) {
    const small = facts!.small;
    return `using large = await loadModel("${facts!.large.name}.gguf");` +
      (small
        ? `\nusing small = await loadModel("${small.name}.gguf", { device: large.device });`
        : "") +
      `\nconst pair = { large${small ? ", small" : ""} };`;
  }
  return `const files = embeddedPair();
using large = await loadModel(files.large);
using small = await loadModel(files.small, { device: large.device });
const pair = { large, small };`;
}

function ownTexts({ budget, newTokens }: RunRequest, settings: string): string {
  return `for (const policy of ["full", ...${settings}]) {
  const options = { policy, budget: policy === "full" ? 1 : ${budget}, maxNewTokens: ${newTokens} };
  const { sequences: [text] } = await generateAll(pair, prompt, options);
  console.log(policy, JSON.stringify(text!.text));
}
`;
}

function oneText({ budget, newTokens }: RunRequest, settings: string): string {
  return `const tokens = large.tokenizer!.encode(prompt);
const runs = await teacherForceSettings(pair, { prompt: tokens }, {
  settings: ${settings}.map((name) => ({ policy: name, budget: { ratio: ${budget} } })),
  newTokens: ${newTokens},
  endTokens: [...large.config.eosTokenIds],
});
runs.forEach(({ kl }, place) => console.log(${settings}[place], kl));
`;
}
