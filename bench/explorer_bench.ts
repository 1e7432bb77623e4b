/**
 * The explorer in Chromium: its first visit, its steps side by side, and how long its page is blocked.
 *
 * @module
 */

import type { Browser, Page } from "playwright-core";
import { DataError } from "../core/check.ts";
import { findChromium, startChromium } from "../experiments/figures/chromium.ts";
import { serveSite } from "../explorer/serve_site.ts";
import { buildSite } from "../explorer/site.ts";
import { Options, printJson, timesOf } from "./timing.ts";

/** What the page shows while it is timed: every view, for the full cache and a policy next to it. */
const SHOWN = "device=cpu&budget=0.2&tint=saliency&film=needs";

/** Collects tasks of the page's thread that the browser calls long, by the clock. */
const OBSERVE = `globalThis.longTasks = [];
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) longTasks.push(duration);
  }).observe({ type: "longtask", buffered: true });`;

/** A visit without a cache. */
interface Visit {
  /** Until the embedded pair is open and a prompt can be run. */
  readonly openMs: number;
  /** Until the first prompt has been read and its first step is shown. */
  readonly stepMs: number;
  /** Bytes that the server has sent. */
  readonly bytes: number;
}

/** Steps while the page plays. */
interface Play {
  /** Of all texts, with what the page draws, by the clock. */
  readonly stepMs: number;
  /** Of all texts in the engine alone: median over steps. */
  readonly engineMs: number;
  /** Longest task of the page's thread, by the clock; those under 50 ms count as 0. */
  readonly longestTaskMs: number;
}

async function visit(browser: Browser, address: string, sent: () => number): Promise<Visit> {
  const before = sent();
  const page = await browser.newPage();
  const start = performance.now();
  await page.goto(`${address}#${SHOWN}&policies=smallkv&step=1`);
  await page.locator('[data-state="open"]').waitFor({ timeout: 120_000 });
  const openMs = performance.now() - start;
  await stepOf(page, /^step 1 |the end/);
  const stepMs = performance.now() - start;
  await page.evaluate("navigator.serviceWorker.ready");
  await page.waitForTimeout(500); // what is fetched afterwards counts, too
  await page.close();
  return { openMs, stepMs, bytes: sent() - before };
}

async function stepOf(page: Page, text: RegExp): Promise<void> {
  await page.locator("output.step", { hasText: text }).waitFor({ timeout: 240_000 });
}

async function play(browser: Browser, address: string, policies: string): Promise<Play> {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  await page.addInitScript(OBSERVE);
  await page.goto(`${address}#${SHOWN}&policies=${policies}&step=1&new=40`);
  await stepOf(page, /^step 1 /);
  await page.locator("svg#map").waitFor({ timeout: 120_000 });
  await page.evaluate("longTasks.length = 0");
  const start = performance.now();
  await page.getByRole("button", { name: "Play" }).click();
  await stepOf(page, /the end/);
  const ms = performance.now() - start;
  const longestTaskMs = await page.evaluate<number>("Math.max(0, ...longTasks)");
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("button", { name: "Save data" }).click(),
  ]);
  const { tracks }: { tracks: { steps: { milliseconds: number }[] }[] } = JSON.parse(
    await Deno.readTextFile(await download.path()),
  );
  await page.close();
  const steps = Math.max(...tracks.map(({ steps }) => steps.length)) - 2; // the prompt and the first one
  const engine = Array.from(
    { length: steps },
    (_, step) => tracks.reduce((sum, track) => sum + (track.steps[step + 2]?.milliseconds ?? 0), 0),
  );
  return { stepMs: ms / steps, engineMs: engine.sort((a, b) => a - b)[steps >> 1]!, longestTaskMs };
}

/** Times a first visit and steps of the full cache next to one policy and to two, in one thread. */
export async function benchExplorer(args: string[]): Promise<void> {
  const options = new Options(args, { samples: "5" });
  const samples = options.count("samples");
  const chromium = await findChromium();
  if (chromium === undefined) {
    throw new DataError(
      "Cannot run the benchmark: there must be a Chromium, or SMALLKV_CHROMIUM must name one: current value is none",
    );
  }
  const folder = await Deno.makeTempDir({ prefix: "smallkv-" });
  try {
    await buildSite(folder);
    let bytes = 0;
    const onFile = (_: string, size: number) => bytes += size;
    await using server = serveSite(folder, { port: 0, isIsolated: false, onFile });
    const visits: Visit[] = [];
    const plays: Record<string, Play[]> = { smallkv: [], "h2o,smallkv": [] };
    for (let sample = 0; sample < samples; sample++) {
      await using browser = await startChromium(chromium);
      visits.push(await visit(browser, server.address, () => bytes));
      for (const [policies, list] of Object.entries(plays)) {
        list.push(await play(browser, server.address, policies));
      }
    }
    report(visits, plays);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function report(visits: readonly Visit[], plays: Readonly<Record<string, readonly Play[]>>): void {
  const median = (values: readonly number[]) =>
    timesOf(values.map((wallMs) => ({ wallMs, processorMs: 0 }))).medianMs;
  const first = {
    openMs: median(visits.map(({ openMs }) => openMs)),
    stepMs: median(visits.map(({ stepMs }) => stepMs)),
    bytes: Math.max(...visits.map(({ bytes }) => bytes)),
  };
  console.log(
    `first visit, n = ${visits.length}: pair open after ${
      first.openMs.toFixed(0)
    } ms, first step shown after ` +
      `${first.stepMs.toFixed(0)} ms, ${(first.bytes / 1e6).toFixed(2)} MB sent`,
  );
  const played = Object.entries(plays).map(([policies, list]) => {
    const stepMs = median(list.map((one) => one.stepMs));
    const engineMs = median(list.map((one) => one.engineMs));
    const longestTaskMs = Math.max(...list.map((one) => one.longestTaskMs));
    console.log(
      `full and ${policies}: a step of all with every view ${
        stepMs.toFixed(1)
      } ms, in the engine ` +
        `${engineMs.toFixed(1)} ms; longest task of the page ` +
        (longestTaskMs === 0 ? "under 50 ms" : `${longestTaskMs.toFixed(0)} ms`),
    );
    return { policies, stepMs, engineMs, longestTaskMs };
  });
  printJson("explorer", undefined, { samples: visits.length, first, played });
}
