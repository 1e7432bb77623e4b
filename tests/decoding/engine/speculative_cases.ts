/**
 * Random settings and texts for decoding with drafts.
 *
 * @module
 */

import fc from "fast-check";
import {
  COMBINES,
  createPolicy,
  GRANULARITIES,
  misusedOptions,
  POLICY_CHOICES,
  type PolicyOptions,
  REDUCTIONS,
  type ResolvedPolicy,
} from "../../../cache/policy_options.ts";
import type { Policy } from "../../../cache/policy.ts";
import { POLICIES } from "../../../cache/policies/mod.ts";
import { NORMALISATIONS } from "../../../analysis/row_means.ts";
import { evaluationItems } from "../../../data/microworld.ts";
import type { StepReport } from "../../../decoding/engine/types.ts";
import { PolicySession } from "../../../decoding/engine/policy_session.ts";
import {
  BLOCK_SELECTIONS,
  type BlockSelection,
  type SpeculativeOptions,
} from "../../../decoding/engine/speculative_types.ts";
import { SpeculativeSession } from "../../../decoding/engine/speculative_session.ts";
import type { Model } from "../../../models/load.ts";
import type { Backend } from "../../../gpu/device.ts";
import { embeddedModel } from "../../support/embedded_model.ts";

/** A setting, a text, and how it is decoded. */
export interface SpeculativeCase {
  /** Roles of the embedded models; the small one has grouped queries, so it is also tried as the large one. */
  readonly roles: readonly ["large" | "small", "large" | "small"];
  /** Index of a text. */
  readonly text: number;
  /** Tokens of the text that are the prompt. */
  readonly promptTokens: number;
  /** Name of the policy. */
  readonly policy: Policy["name"];
  /** Its choices. */
  readonly options: PolicyOptions;
  /** Share of the full cache. */
  readonly ratio: number;
  /** Drafts of a block. */
  readonly draftTokens: number;
  /** What rows of a block attend to. */
  readonly block: BlockSelection;
  /** For each block, which of the expected tokens is replaced in its drafts; the small model drafts where it is -1. */
  readonly wrong: readonly number[];
}

/**
 * Makes random cases.
 *
 * @returns Cases with prompts below and above the length at which heads are matched.
 */
export function anyCase(): fc.Arbitrary<SpeculativeCase> {
  return fc.record({
    roles: fc.constantFrom(
      ["large", "small"] as const,
      ["small", "large"] as const,
      ["small", "small"] as const,
    ),
    text: fc.nat(9),
    promptTokens: fc.oneof(fc.integer({ min: 92, max: 99 }), fc.integer({ min: 100, max: 220 })),
    policy: fc.constantFrom("smallkv", "smallkv_query_aware"),
    options: fc.record({
      score: fc.constantFrom(...POLICY_CHOICES.score.values),
      granularity: fc.constantFrom(...GRANULARITIES),
      combine: fc.constantFrom(...COMBINES),
      reduction: fc.constantFrom(...REDUCTIONS),
      interval: fc.integer({ min: 1, max: 3 }),
      change: fc.constantFrom(0, 0, 0.1),
      normalise: fc.constantFrom(...NORMALISATIONS),
      marginal: fc.boolean(),
      rest: fc.constantFrom("none" as const, "mean" as const),
    }),
    ratio: fc.constantFrom(0.1, 0.2, 0.5, 1),
    draftTokens: fc.integer({ min: 1, max: 7 }),
    block: fc.constantFrom(...BLOCK_SELECTIONS),
    wrong: fc.array(fc.integer({ min: -1, max: 4 }), { minLength: 3, maxLength: 3 }),
  });
}

/** A case that is ready to run. */
export interface RunnableCase {
  /** Both models. */
  readonly pair: { readonly large: Model; readonly small: Model };
  /** Token ids of the prompt. */
  readonly prompt: readonly number[];
  /** Policy, budget, drafts, room for 32 new tokens. */
  readonly options: SpeculativeOptions;
}

/**
 * Loads the models of a case.
 *
 * @param given The case.
 * @param backend Where it runs.
 * @returns Models, prompt, options.
 */
export async function openCase(given: SpeculativeCase, backend: Backend): Promise<RunnableCase> {
  const [large, small] = await Promise.all(given.roles.map((role) => embeddedModel(role, backend)));
  const tasks = ["route", "qa"] as const;
  const items = evaluationItems(tasks[given.text % 2]!, { count: 5 });
  const ids = large!.tokenizer!.encode(items[given.text >> 1]!.prompt);
  const prompt = ids.slice(-given.promptTokens);
  return {
    pair: { large: large!, small: small! },
    prompt,
    options: {
      policy: policyOf(given),
      budget: { ratio: given.ratio },
      capacity: prompt.length + 32,
      draftTokens: given.draftTokens,
      block: given.block,
    },
  };
}

/** Choices without those that exclude each other. */
function policyOf({ policy: name, options }: SpeculativeCase): ResolvedPolicy {
  const policy = POLICIES.find((candidate) => candidate.name === name)!;
  const misused = misusedOptions(policy, options).map(({ option }) => option);
  const allowed = Object.entries(options).filter(([option]) => !misused.includes(option as never));
  return createPolicy(name, Object.fromEntries(allowed));
}

/**
 * Decodes without drafts.
 *
 * @param given What to decode.
 * @param steps How many steps.
 * @returns The token that each step ran, and its report.
 */
export async function decodePlainly(
  { pair, prompt, options }: RunnableCase,
  steps: number,
): Promise<{ readonly token: number; readonly report: StepReport }[]> {
  using session = new PolicySession(pair, options);
  await session.prefill(prompt);
  let [token] = await session.nextTokens();
  const done: { token: number; report: StepReport }[] = [];
  for (let step = 0; step < steps; step++) {
    const report = await session.step({ logits: true });
    done.push({ token: token!, report });
    token = report.chosen[0]!;
  }
  return done;
}

/**
 * Opens a session with drafts and runs the prompt.
 *
 * @param given What to decode.
 * @returns The session.
 */
export async function openSpeculation(given: RunnableCase): Promise<SpeculativeSession> {
  const session = new SpeculativeSession(given.pair, given.options);
  await session.prefill(given.prompt);
  return session;
}

/**
 * Proposes the tokens that plain decoding yields, one of them replaced.
 *
 * @param next Tokens that follow, at least as many as are drafted.
 * @param draftTokens How many are drafted.
 * @param wrong Which one is replaced; none if it is not among them.
 * @returns The proposals.
 */
export function spoiledDrafts(
  next: readonly number[],
  draftTokens: number,
  wrong: number,
): number[] {
  return next.slice(0, draftTokens).map((token, place) => place === wrong ? token ^ 1 : token);
}
