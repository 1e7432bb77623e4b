/**
 * What tests of the explorer's page share: visits, waiting, the check of accessibility, and a model that can be written down.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import type { Browser, Page } from "playwright-core";
import { startChromium } from "../../experiments/figures/chromium.ts";
import { type ServeOptions, serveSite } from "../../explorer/serve_site.ts";
import { buildSite } from "../../explorer/site.ts";
import { axeFaults } from "./axe.ts";
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

/**
 * A tiny model of random weights that can be opened alone.
 *
 * @param mlp Width of its MLP.
 */
export function tinyGguf(mlp: number = TINY.mlp): Uint8Array<ArrayBuffer> {
  const config = { ...TINY, mlp };
  return encodeGguf({
    metadata: [...ggufMetadata({ ...config, contextLength: 4096 }), ...TOKENIZER],
    tensors: ggufTensors(tinyWeights(config)),
  });
}

/** A built site, its server and a page that visits it. */
export interface SiteVisit extends AsyncDisposable {
  readonly browser: Browser;
  readonly page: Page;
  /** Address of the page. */
  readonly address: string;
  /** Console messages and errors. */
  readonly said: string[];
  /** Addresses that were asked for. */
  readonly asked: Set<string>;
  /** Opens the page again, on the CPU device, and waits for its models. */
  readonly open: (hash: string) => Promise<void>;
  /** Ends the server, for what works without it. */
  readonly stopServer: () => Promise<void>;
}

/**
 * Builds the explorer, serves it and starts a browser.
 *
 * @param chromium Path of a Chromium.
 * @param options How it is served; further arguments of the browser.
 */
export async function visitSite(
  chromium: string,
  { flags = [], ...options }: Omit<ServeOptions, "port"> & { readonly flags?: string[] } = {},
): Promise<SiteVisit> {
  await using parts = new AsyncDisposableStack();
  const folder = await Deno.makeTempDir({ prefix: "smallkv-" });
  parts.defer(() => Deno.remove(folder, { recursive: true }));
  await buildSite(folder);
  const server = serveSite(folder, { ...options, port: 0 });
  const serving = parts.use(new AsyncDisposableStack());
  serving.use(server);
  const browser = parts.use(await startChromium(chromium, flags));
  const page = await browser.newPage();
  const [said, asked] = [[] as string[], new Set<string>()];
  page.on("console", (message) => said.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => said.push(error.message));
  page.context().on("request", (request) => asked.add(request.url()));
  const held = parts.move();
  return {
    ...{ browser, page, said, asked, address: server.address },
    async open(hash) {
      await page.goto("about:blank");
      await page.goto(`${server.address}#device=cpu&${hash}`);
      await page.locator('[data-state="open"]').waitFor({ timeout: 60_000 });
    },
    stopServer: () => serving.disposeAsync(),
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}

/** Addresses that were asked for outside of the page itself and of what some prefixes name. */
export function strangers(asked: Iterable<string>, ...prefixes: readonly string[]): string[] {
  const own = ["blob:", "data:", "about:", ...prefixes];
  return [...asked].filter((url) => !own.some((prefix) => url.startsWith(prefix)));
}

/** Checks that a narrow page need not be scrolled sideways and is accessible. */
export async function checkNarrowPage(page: Page): Promise<void> {
  await page.setViewportSize({ width: 380, height: 800 });
  await page.waitForTimeout(200);
  assertEquals(await page.evaluate("document.documentElement.scrollWidth"), 380);
  assertEquals(await axeFaults(page, "light"), []);
  await page.setViewportSize({ width: 1280, height: 900 });
}

/** Checks that a page is accessible in light and in dark. */
export async function checkAccess(page: Page): Promise<void> {
  for (const scheme of ["light", "dark"] as const) {
    assertEquals(await axeFaults(page, scheme), [], scheme);
  }
}

/** Waits for a step, or for the end of the texts. */
export async function waitForStep(page: Page, step: number, timeout = 120_000): Promise<void> {
  const shown = page.locator("output.step", { hasText: new RegExp(`^step ${step} |the end`) });
  await shown.waitFor({ timeout });
}
