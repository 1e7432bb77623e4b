/**
 * What tests of the explorer's page share: visits, waiting, the check of accessibility, and a model that can be written down.
 *
 * @module
 */

import type { Page } from "playwright-core";
import {
  encodeGguf,
  ggufMetadata,
  ggufTensors,
  TINY,
  tinyWeights,
  type WrittenValue,
} from "./model_writer.ts";

/** A tokenizer of printable characters. */
export const TOKENIZER: [string, WrittenValue][] = [
  ["tokenizer.ggml.model", ["string", "gpt2"]],
  ["tokenizer.ggml.pre", ["string", "qwen2"]],
  [
    "tokenizer.ggml.tokens",
    ["strings", Array.from({ length: TINY.vocabulary }, (_, id) => String.fromCharCode(65 + id))],
  ],
  ["tokenizer.ggml.token_type", ["i32s", Array(TINY.vocabulary).fill(1)]],
  ["tokenizer.ggml.merges", ["strings", []]],
];

/** A tiny model of random weights that can be opened alone. */
export function tinyGguf(): Uint8Array<ArrayBuffer> {
  return encodeGguf({
    metadata: [...ggufMetadata({ ...TINY, contextLength: 4096 }), ...TOKENIZER],
    tensors: ggufTensors(tinyWeights(TINY)),
  });
}

/** What a visit has seen. */
export interface Visit {
  readonly page: Page;
  /** Console messages and errors. */
  readonly said: string[];
  /** Addresses that were asked for. */
  readonly asked: Set<string>;
}

export function visit(page: Page): Visit {
  const [said, asked] = [[] as string[], new Set<string>()];
  page.on("console", (message) => said.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => said.push(error.message));
  page.context().on("request", (request) => asked.add(request.url()));
  return { page, said, asked };
}

/** Waits for a step, or for the end of the texts. */
export async function waitForStep(page: Page, step: number, timeout = 120_000): Promise<void> {
  const shown = page.locator("output.step", { hasText: new RegExp(`^step ${step} |the end`) });
  await shown.waitFor({ timeout });
}

/** Faults that axe finds, in light or dark, with their places. */
export async function axeFaults(page: Page, colorScheme: "light" | "dark"): Promise<unknown[]> {
  await page.emulateMedia({ colorScheme });
  const source = (await import("axe-core")).default.source;
  await page.evaluate(source);
  const { violations } = await page.evaluate("axe.run()") as {
    violations: { id: string; nodes: { html: string; failureSummary: string }[] }[];
  };
  return violations.map(({ id, nodes }) => ({
    id,
    places: nodes.slice(0, 3).map(({ html, failureSummary }) => `${html} ${failureSummary}`),
  }));
}
