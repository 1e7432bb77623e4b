/**
 * Tests of `models/verified.ts`: the register of what was compared with transformers.
 *
 * @module
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { ARCHITECTURES } from "../../models/architectures/mod.ts";
import { VERIFIED_MODELS, type VerifiedModel, withVerified } from "../../models/verified.ts";
import { faultsOf } from "../../tools/verify/compare.ts";

const LABELS = ARCHITECTURES.map(({ label }) => label);
const TEXTS: Readonly<Record<string, RegExp>> = {
  model: /./,
  hash: /^[0-9a-f]{64}$/,
  date: /^\d{4}-\d\d-\d\d$/,
  device: /^(cpu|webgpu|reference)$/,
  tokensHash: /^[0-9a-f]{64}$/,
  tokenizer: /^(yes|(no|unknown): .+)$/,
  version: /^\d+\.\d+\.\d+$/,
  commit: /^[0-9a-f]{40}$/,
  command: /^deno task verify \S+ --device (cpu|webgpu|reference) --length \d+/,
};

for (const row of VERIFIED_MODELS) {
  Deno.test(`verified.json: the row of ${row.model} on ${row.device} is whole and within the tolerance`, () => {
    const { figures, reference, tokens, family, ...texts } = row;
    assertEquals(Object.keys(texts).sort(), Object.keys(TEXTS).sort());
    for (const [name, pattern] of Object.entries(TEXTS)) {
      assertMatch(String(row[name as keyof VerifiedModel]), pattern, name);
    }
    assert(LABELS.includes(family), family);
    assert(row.command.includes(`--device ${row.device} `) && tokens > 0);
    assertEquals(Object.keys(reference).sort(), ["dtype", "torch", "transformers", "weights"]);
    const { clearTopOne, topOne, ...differences } = figures;
    const names = ["attentionMap", "columnSum", "largestKl", "meanKl"];
    assertEquals(Object.keys(differences).sort(), names);
    for (const value of Object.values(differences)) assert(Number.isFinite(value) && value >= 0);
    assertEquals(topOne.of, tokens);
    assert(clearTopOne.of <= tokens && clearTopOne.same <= clearTopOne.of);
    assert(topOne.same <= topOne.of && figures.meanKl <= figures.largestKl);
    assertEquals(faultsOf(figures), []);
  });
}

Deno.test("verified.json is sorted and has one row for each file and device", () => {
  const sorted = VERIFIED_MODELS.reduce(withVerified, []);
  assertEquals(VERIFIED_MODELS, sorted);
  assert(VERIFIED_MODELS.length > 0);
});

Deno.test("withVerified() replaces the row of the same file and device, and sorts", () => {
  const row = (model: string, device: string, hash: string, date = "2026-01-01") =>
    ({ model, device, hash, date }) as VerifiedModel;
  const rows = [row("b", "cpu", "1"), row("a", "webgpu", "2"), row("a", "cpu", "2")]
    .reduce(withVerified, []);
  const brief = (list: readonly VerifiedModel[]) =>
    list.map(({ model, device, date }) => `${model} ${device} ${date}`);
  assertEquals(brief(rows), ["a cpu 2026-01-01", "a webgpu 2026-01-01", "b cpu 2026-01-01"]);
  const renamed = withVerified(rows, row("c", "cpu", "2", "2026-02-02"));
  assertEquals(brief(renamed), ["a webgpu 2026-01-01", "b cpu 2026-01-01", "c cpu 2026-02-02"]);
});
