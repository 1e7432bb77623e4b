import type { ItemScore } from "../../evaluation/summary.ts";

/** A score with plain numbers where a test says nothing. */
export function itemScore(parts: Partial<ItemScore>): ItemScore {
  return {
    task: "bbh",
    item: "a/0",
    group: "a",
    prompt: "p",
    models: { large: "L" },
    setting: "full",
    budget: { ratio: 1 },
    seeds: 1,
    score: 0,
    tokens: 10,
    cut: 0,
    ended: 1,
    promptTokens: 100,
    cachedTokens: 110,
    bytes: { large: 1000, small: 0, host: 0 },
    seconds: 1,
    decodeSeconds: 0.5,
    ...parts,
  };
}

/** Scores of one setting on items of alternating groups. */
export function settingScores(
  setting: string,
  ratio: number,
  scores: readonly number[],
  parts: Partial<ItemScore> = {},
): ItemScore[] {
  return scores.map((score, index) => {
    const group = index % 2 === 0 ? "a" : "b";
    return itemScore({
      setting,
      budget: { ratio },
      item: `${group}/${index}`,
      group,
      score,
      ...parts,
    });
  });
}
