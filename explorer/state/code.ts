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
  const types = Object.keys(request.options).length > 0 ? ["type PolicyOptions"] : [];
  return `import { ${[...imports, ...types].join(", ")} } from "@smallkv/lab";

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

/** Lines that name the options of policies, if there are any, and the part of an object that picks a policy's. */
function optionLines({ options }: RunRequest, field: string, policy: string) {
  if (Object.keys(options).length === 0) return { lines: "", part: "" };
  const type = "Record<string, PolicyOptions>";
  return {
    lines: `const policyOptions: ${type} = ${JSON.stringify(options)};\n`,
    part: `...(policyOptions[${policy}] && { ${field}: policyOptions[${policy}] }), `,
  };
}

function ownTexts(request: RunRequest, settings: string): string {
  const { budget, newTokens } = request;
  const { lines, part } = optionLines(request, "policyOptions", "policy");
  return `${lines}for (const policy of ["full", ...${settings}]) {
  const share = { budget: policy === "full" ? 1 : ${budget}, maxNewTokens: ${newTokens} };
  const { sequences: [text] } = await generateAll(pair, prompt, { policy, ${part}...share });
  console.log(policy, JSON.stringify(text!.text));
}
`;
}

function oneText(request: RunRequest, settings: string): string {
  const { budget, newTokens } = request;
  const { lines, part } = optionLines(request, "options", "policy");
  return `${lines}const tokens = large.tokenizer!.encode(prompt);
const runs = await teacherForceSettings(pair, { prompt: tokens }, {
  settings: ${settings}.map((policy) => ({ policy, ${part}budget: { ratio: ${budget} } })),
  newTokens: ${newTokens},
  endTokens: [...large.config.eosTokenIds],
});
runs.forEach(({ kl }, place) => console.log(${settings}[place], kl));
`;
}
