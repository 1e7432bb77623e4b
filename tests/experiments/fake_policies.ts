/**
 * Made-up runs under policies: better with more budget and with small models, best with the newest row.
 *
 * @module
 */

import { derivedSeed, randomInteger, seededRandom } from "../../core/random.ts";
import { createPolicy } from "../../cache/policy_options.ts";
import { entryBytes } from "../../experiments/decoded/policy_stats.ts";
import type {
  ExperimentContext,
  ModelShape,
  PolicySetting,
  TeacherForcedRun,
  TeacherForcedText,
} from "../../experiments/experiment.ts";

/** Divergence of a policy at a vanishing budget, in nats. */
const STRAY: Readonly<Record<string, number>> = { full: 0, smallkv: 1, smallkv_query_aware: 0.2 };

/** The methods of a context that decode; a small model has a quarter of the large one's cache. */
export function fakePolicies(
  large: ModelShape,
): Pick<ExperimentContext, "teacherForced" | "generated" | "selections"> {
  return {
    teacherForced({ prompt, continuation, newTokens, settings }) {
      const own = continuation ?? Array.from({ length: newTokens }, (_, k) => prompt[k]!);
      const text = { prompt, continuation: own };
      return Promise.resolve(settings.map((setting) => {
        const full = (prompt.length + own.length - 1) * entryBytes(large);
        const { saliencySource } = createPolicy(setting.policy, setting.options);
        const small = saliencySource === "small" ? full / 4 : 0;
        const run = fakeRun(setting, text);
        return { ...run, bytes: { large: run.cost.at(-1)! * full, small } };
      }));
    },
    generated({ prompts, setting, maxNew }) {
      const isGood = (STRAY[setting.policy] ?? 2) < 1;
      return Promise.resolve(prompts.map((prompt) => {
        const random = seededRandom(derivedSeed(prompt.length, isGood ? "good" : setting.policy));
        return Array.from(
          { length: Math.min(maxNew, 6) },
          () => prompt[randomInteger(random, prompt.length)]!,
        );
      }));
    },
    async selections(request) {
      const { prompt, continuation, newTokens, settings } = request;
      const units = large.layers * large.kvHeads;
      const runs = await this.teacherForced(request);
      return settings.map((setting, index) => ({
        run: runs[index]!,
        selections: Array.from({ length: (continuation?.length ?? newTokens) - 1 }, (_, step) => {
          const tokens = prompt.length + step + 1;
          const count = Math.ceil(tokens * ("ratio" in setting.budget ? setting.budget.ratio : 1));
          const full = Uint32Array.from({ length: count }, (_, index) => tokens - count + index);
          return new Array(units).fill({ full, valueOnly: new Uint32Array(0) });
        }),
      }));
    },
  };
}

function fakeRun(
  setting: PolicySetting,
  { prompt, continuation }: TeacherForcedText,
): Omit<TeacherForcedRun, "bytes"> {
  const ratio = "ratio" in setting.budget ? setting.budget.ratio : 1;
  const stray = (STRAY[setting.policy] ?? 2) * (1 - ratio) *
    (setting.options?.marginal === false ? 1.5 : 1) * (setting.options?.score === "row" ? 0.1 : 1);
  const random = seededRandom(derivedSeed(prompt.length, prompt.slice(-8).join()));
  const kl = continuation.map((_, step) => step === 0 ? 0 : stray * (0.5 + random()));
  const chosen = continuation.map((token, step) => kl[step]! > 0.8 ? token + 1 : token);
  const flat = (value: number) => continuation.map((_, step) => step === 0 ? 0 : value);
  return {
    kl,
    chosen,
    reference: [...continuation],
    cost: flat(ratio),
    churn: flat(stray / 10),
    loaded: flat(3 * stray),
  };
}
