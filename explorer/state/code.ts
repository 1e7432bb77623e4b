/**
 * A run as lines for a script or a notebook.
 *
 * @module
 */

import { createPolicy } from "../../cache/policy_options.ts";
import type { PairState } from "./state.ts";
import type { RunRequest } from "../messages.ts";
import { storeOf } from "../../cache/wanted_store.ts";

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
    "generateAll",
    "loadModel",
    ...(isForced(request) ? ["teacherForce"] : []),
  ];
  const types = hasOptions(request) ? ["type PolicyOptions"] : [];
  return `import { ${[...imports, ...types].join(", ")} } from "@smallkv/lab";

${models(isEmbedded, facts)}
const prompt = ${JSON.stringify(request.prompt)};
${choices(request)}${isForced(request) ? oneText(request) : ownTexts(request)}`;
}

/** Whether a step reads what the full cache has written; the first new token follows from the prompt alone. */
function isForced({ reads, newTokens }: RunRequest): boolean {
  return reads === "full" && newTokens > 1;
}

function models(isEmbedded: boolean, facts: PairState["facts"]): string {
  if (!isEmbedded) {
    const small = facts!.small;
    return `using large = await loadModel(${JSON.stringify(facts!.large.file)});` +
      (small
        ? `\nusing small = await loadModel(${
          JSON.stringify(small.file)
        }, { device: large.device });`
        : "") +
      `\nconst pair = { large${small ? ", small" : ""} };`;
  }
  return `const files = embeddedPair();
using large = await loadModel(files.large);
using small = await loadModel(files.small, { device: large.device });
const pair = { large, small };`;
}

function hasOptions({ options }: RunRequest): boolean {
  return Object.keys(options).length > 0;
}

/** Lines that say which options policies have, and which of them leave tokens to the host. */
function choices(request: RunRequest): string {
  const { options, policies, store } = request;
  const onHost = policies.filter((name) =>
    storeOf(createPolicy(name, options[name]), store) === "tiered"
  );
  const type = "Record<string, PolicyOptions>";
  return (hasOptions(request)
    ? `const policyOptions: ${type} = ${JSON.stringify(options)};\n`
    : "") + (onHost.length > 0 ? `const onHost = ${listOf(onHost)};\n` : "");
}

/** The parts of an object that pick what a policy has of these. */
function chosen(request: RunRequest): string {
  const isOnHost = choices(request).includes("const onHost");
  return (hasOptions(request)
    ? "\n    ...(policyOptions[policy] && { policyOptions: policyOptions[policy] }),"
    : "") + (isOnHost ? '\n    store: onHost.includes(policy) ? "tiered" : "resident",' : "");
}

function listOf(names: readonly string[]): string {
  return `[${names.map((name) => JSON.stringify(name)).join(", ")}]`;
}

function ownTexts(request: RunRequest): string {
  const { budget, newTokens, policies } = request;
  return `for (const policy of ${listOf(["full", ...policies])}) {
  const { sequences: [text] } = await generateAll(pair, prompt, {
    policy,${chosen(request)}
    budget: policy === "full" ? 1 : ${budget},
    maxNewTokens: ${newTokens},
  });
  console.log(policy, JSON.stringify(text!.text));
}
`;
}

function oneText(request: RunRequest): string {
  const { budget, newTokens, policies } = request;
  return `const full = { policy: "full", budget: 1, maxNewTokens: ${newTokens} };
const { sequences: [text] } = await generateAll(pair, prompt, full);
const tokens = text!.tokens.slice(0, -1); // the last one is read by no step
for (const policy of ${listOf(policies)}) {
  const { quality } = await teacherForce(pair, prompt, {
    policy,${chosen(request)}
    budget: ${budget},
    tokens,
  });
  console.log(policy, quality.map(({ kl }) => kl));
}
`;
}
