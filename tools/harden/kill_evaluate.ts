/**
 * Kills `evaluate` again and again, at any moment and at any step of writing, and lets it continue.
 *
 * @module
 */

import { join } from "node:path";
import type { Campaign } from "./campaign.ts";
import { killCommand, type KilledCommand } from "./kill.ts";

const ANSWERS = "answers.jsonl";

/** Whole lines of a file, without one that was not finished. */
function wholeLines(text: string): string[] {
  return text.split("\n").slice(0, -1);
}

/** Twelve answers of the embedded pair. */
const EVALUATE: KilledCommand = {
  words: ["evaluate", "--limit", "3", "--policies", "full,h2o,smallkv", "--budgets", "0.2,0.3"]
    .concat("--out", "results"),
  async finished(folder) {
    const text = await Deno.readTextFile(join(folder, ANSWERS)).catch(() => "");
    // A line that was answered again has other times.
    return new Map(wholeLines(text).map((line) => [JSON.parse(line).id, line]));
  },
  stable(name, text) {
    if (name.endsWith(ANSWERS)) {
      const lines = wholeLines(text).map((line) => ({ ...JSON.parse(line), seconds: null }));
      return lines.map((line) => JSON.stringify(line)).sort().join("\n");
    }
    if (/plotly|report\.html$|\.md$|lock$/.test(name)) return "";
    return text.replaceAll(/"seconds": .*/g, "");
  },
};

/** Kills `evaluate` at any moment and at the n-th step of writing. */
export const campaign: Campaign = {
  name: "kill_evaluate",
  summary: "kills evaluate at any moment and any step of writing; no answer may be lost or double",
  count: 100,
  run: (run) => killCommand(EVALUATE, run),
};
