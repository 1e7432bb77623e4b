/**
 * The explorer in Chromium: its first visit, its steps side by side, and how long its page is blocked.
 *
 * @module
 */

import type { Browser, Page } from "playwright-core";
import { DataError } from "../core/check.ts";
import { median } from "../core/stats.ts";
import { findChromium, startChromium } from "../experiments/figures/chromium.ts";
import { serveSite } from "../explorer/serve_site.ts";
import { buildSite } from "../explorer/site.ts";
import { Options, printJson } from "./timing.ts";

/** What the page shows while it is timed, for the full cache and policies next to it; texts of 40 new tokens. */
const SHOWN = "device=cpu&budget=0.2&example=1&new=40&step=1";
/** Every view, and those that need no received attention. */
const VIEWS = { all: "&tint=saliency&film=needs", tiers: "&tint=tier&film=tiers" };
/** Policies next to the full cache. */
const POLICIES = ["smallkv", "h2o,smallkv"];
/** Steps that warm up, that are asked for one by one, and that are played. */
const STEPS = { first: 2, timed: 12, played: 30 };

/** Collects tasks of the page's thread that the browser calls long, by the clock. */
const OBSERVE = `globalThis.longTasks = [];
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) longTasks.push(duration);
  }).observe({ type: "longtask", buffered: true });`;

/** Asks for steps, each as soon as texts and film show the one before and have been laid out and painted. */
const STEP = `globalThis.stepTimes = async (first, end) => {
  const times = [];
  for (let step = first; step < end; step++) {
    const start = performance.now();
    await new Promise((done, fail) => {
      const isShown = () =>
        document.querySelector("output.step").textContent.startsWith("step " + step + " ") &&
        document.querySelector("svg#film").ariaLabel.endsWith("at " + step + " steps");
      const observer = new MutationObserver(() => {
        if (!isShown()) return;
        observer.disconnect();
        setTimeout(done);
      });
      const kinds = { childList: true, attributes: true, characterData: true };
      observer.observe(document.body, { subtree: true, ...kinds });
      setTimeout(() => fail(new Error("step " + step + " is not shown")), 30_000);
      document.querySelector('[aria-label="Forward one step"]').click();
    });
    times.push(performance.now() - start);
  }
  return times;
};`;

/** Plays to the end, and tells the time between steps. */
const PLAY = `globalThis.playTimes = () => new Promise((done) => {
  const [output, times] = [document.querySelector("output.step"), []];
  new MutationObserver(() => {
    times.push(performance.now());
    if (output.textContent.endsWith("the end")) {
      done(times.slice(1).map((time, place) => time - times[place]));
    }
  }).observe(output, { subtree: true, childList: true, characterData: true });
  document.querySelector(".transport .primary").click();
});`;

/** A visit without a cache. */
interface Visit {
  /** Until the embedded pair is open and a prompt can be run. */
  readonly openMs: number;
  /** Until the first prompt has been read and its first step is shown. */
  readonly stepMs: number;
  /** Bytes that the server has sent. */
  readonly bytes: number;
}

/** Steps of some texts side by side. */
interface Run {
  /** From asking for a step of all texts until it is painted, by the clock: each step. */
  readonly stepMs: readonly number[];
  /** Processor time of a step in the engine's thread. */
  readonly workerMs: number;
  /** In the page's thread: state, views, style, layout, paint. */
  readonly pageMs: number;
  /** In all other threads of the browser: raster, compositor, compilers, garbage collection. */
  readonly otherMs: number;
  /** Between steps while the page plays, by the clock: it waits for a timer, so that they can be followed. */
  readonly playedMs: readonly number[];
  /** Longest task of the page's thread, by the clock; those under 50 ms count as 0. */
  readonly longestTaskMs: number;
}

async function visit(browser: Browser, address: string, sent: () => number): Promise<Visit> {
  const before = sent();
  const page = await browser.newPage();
  const start = performance.now();
  await page.goto(`${address}#${SHOWN}${VIEWS.all}&policies=smallkv`);
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

async function run(browser: Browser, address: string): Promise<Run> {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  await page.addInitScript(OBSERVE + STEP + PLAY);
  await page.goto(address);
  await stepOf(page, /^step 1 /);
  await page.locator("svg#map").waitFor({ timeout: 120_000 });
  const times = (first: number, end: number) =>
    page.evaluate<number[]>(`stepTimes(${first}, ${end})`);
  await times(STEPS.first, STEPS.timed);
  await page.evaluate("longTasks.length = 0");
  await browser.startTracing(page, { categories: ["toplevel", "__metadata"] });
  const stepMs = await times(STEPS.timed, STEPS.played);
  const threads = threadTimes(await browser.stopTracing());
  const playedMs = await page.evaluate<number[]>("playTimes()");
  const longestTaskMs = await page.evaluate<number>("Math.max(0, ...longTasks)");
  await page.close();
  const perStep = (isIn: (name: string) => boolean) =>
    [...threads].reduce((sum, [name, ms]) => isIn(name) ? sum + ms : sum, 0) / stepMs.length;
  const isWorker = (name: string) => name.startsWith("DedicatedWorker");
  const isPage = (name: string) => name === "CrRendererMain";
  return {
    stepMs,
    workerMs: perStep(isWorker),
    pageMs: perStep(isPage),
    otherMs: perStep((name) => !isWorker(name) && !isPage(name)),
    playedMs,
    longestTaskMs,
  };
}

/** Processor time of a browser's threads by name, in milliseconds. */
function threadTimes(trace: Uint8Array): Map<string, number> {
  interface TraceEvent {
    readonly name: string;
    readonly pid: number;
    readonly tid: number;
    readonly ts: number;
    readonly dur?: number;
    readonly tdur?: number;
    readonly args: { readonly name?: string };
  }
  const { traceEvents }: { traceEvents: TraceEvent[] } = JSON.parse(
    new TextDecoder().decode(trace),
  );
  const threadOf = ({ pid, tid }: TraceEvent) => `${pid} ${tid}`;
  const names = new Map(
    traceEvents.filter(({ name }) => name === "thread_name")
      .map((event) => [threadOf(event), event.args.name!]),
  );
  const [times, ends] = [new Map<string, number>(), new Map<string, number>()];
  for (const event of traceEvents.sort((a, b) => a.ts - b.ts || b.dur! - a.dur!)) {
    const { ts, dur, tdur } = event;
    const thread = threadOf(event);
    // What lies within another event of its thread is counted with it.
    if (dur === undefined || tdur === undefined || ts < (ends.get(thread) ?? 0)) continue;
    ends.set(thread, ts + dur);
    const name = names.get(thread) ?? "";
    times.set(name, (times.get(name) ?? 0) + tdur / 1000);
  }
  return times;
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
    const runs = POLICIES.map((policies) => ({ policies, all: [] as Run[], tiers: [] as Run[] }));
    for (let sample = 0; sample < samples; sample++) {
      await using browser = await startChromium(chromium);
      visits.push(await visit(browser, server.address, () => bytes));
      for (const { policies, ...lists } of runs) {
        for (const views of ["all", "tiers"] as const) {
          const address = `${server.address}#${SHOWN}${VIEWS[views]}&policies=${policies}`;
          lists[views].push(await run(browser, address));
        }
      }
    }
    report(visits, runs);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function report(
  visits: readonly Visit[],
  runs: readonly Readonly<Record<"all" | "tiers", Run[]> & { policies: string }>[],
): void {
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
  const steps = runs.map(({ policies, all, tiers }) => {
    const engineMs = median(tiers.map(({ workerMs }) => workerMs));
    const parts = {
      engineMs,
      receivedMs: median(all.map(({ workerMs }) => workerMs)) - engineMs,
      pageMs: median(all.map(({ pageMs }) => pageMs)),
      otherMs: median(all.map(({ otherMs }) => otherMs)),
    };
    const stepMs = median(all.flatMap((one) => one.stepMs));
    const processorMs = Object.values(parts).reduce((sum, ms) => sum + ms);
    const playedMs = median(all.flatMap((one) => one.playedMs));
    const longestTaskMs = Math.max(...all.map((one) => one.longestTaskMs));
    console.log(
      `full and ${policies}: a step of all with every view ${stepMs.toFixed(1)} ms; processor ` +
        `${processorMs.toFixed(1)} ms: engine ${parts.engineMs.toFixed(1)}, received attention ` +
        `${parts.receivedMs.toFixed(1)}, page ${parts.pageMs.toFixed(1)}, raster and others ` +
        `${parts.otherMs.toFixed(1)}; while it plays, by its timer, ${playedMs.toFixed(0)} ms; ` +
        `longest task of the page ` +
        (longestTaskMs === 0 ? "under 50 ms" : `${longestTaskMs.toFixed(0)} ms`),
    );
    return { policies, stepMs, processorMs, ...parts, playedMs, longestTaskMs };
  });
  printJson("explorer", undefined, { samples: visits.length, first, steps });
}
