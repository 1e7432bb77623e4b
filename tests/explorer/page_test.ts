/**
 * The built explorer in Chromium, on the CPU device, below a path, without cross-origin isolation.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import type { Page } from "playwright-core";
import { embeddedPair } from "../../data/embedded.ts";
import { findChromium } from "../../experiments/figures/chromium.ts";
import { ExplorerRun } from "../../explorer/engine/explorer_run.ts";
import type { RunRequest, TrackStep } from "../../explorer/messages.ts";
import {
  checkAccess,
  checkNarrowPage,
  strangers,
  TOKENIZER,
  visitSite,
  waitForStep,
} from "../support/explorer_page.ts";
import {
  encodeGguf,
  ggufMetadata,
  ggufTensors,
  splitGguf,
  TINY,
  tinyWeights,
} from "../support/model_writer.ts";
import { openDevice } from "../../gpu/open_device.ts";
import { loadModel } from "../../models/load.ts";

const chromium = await findChromium();
if (chromium === undefined) console.warn("The explorer's page is skipped: no Chromium was found");

const BASE = "/some/where/";
/**
 * Longest task of the page's thread, in milliseconds of its processor time: on a busy machine the clock says more of others
 * than of the page.
 */
const MAX_BLOCKED_MS = 50;
/** What is recorded of threads. */
const TRACED = ["toplevel", "disabled-by-default-devtools.timeline", "__metadata"];
/** Bytes of a first visit. */
const MAX_BYTES = 8e6;

/** Processor time of every task of the page's own thread, in milliseconds. */
function pageTasks(trace: Uint8Array): number[] {
  interface TraceEvent {
    readonly name: string;
    readonly pid: number;
    readonly tid: number;
    readonly tdur?: number;
    readonly args: { readonly name?: string };
  }
  const { traceEvents }: { traceEvents: TraceEvent[] } = JSON.parse(
    new TextDecoder().decode(trace),
  );
  const threadOf = ({ pid, tid }: TraceEvent) => `${pid} ${tid}`;
  const main = new Set(
    traceEvents.filter(({ name, args }) => name === "thread_name" && args.name === "CrRendererMain")
      .map(threadOf),
  );
  return traceEvents
    .filter((event) => event.name.endsWith("RunTask") && main.has(threadOf(event)))
    .map(({ tdur = 0 }) => tdur / 1000);
}

/** What "Save data" saves. */
async function savedData(page: Page): Promise<{
  readonly request: RunRequest;
  readonly tracks: { policy: string; steps: (Omit<TrackStep, "tiers"> & { tiers?: string[] })[] }[];
}> {
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("button", { name: "Save data" }).click(),
  ]);
  return JSON.parse(await Deno.readTextFile(await download.path()));
}

/** The same run in Deno, which other tests compare with the library. */
async function expectedTracks(request: RunRequest, count: number): Promise<TrackStep[][]> {
  using device = await openDevice({ backend: "cpu", threads: 1 });
  const files = embeddedPair();
  const large = await loadModel(files.large, { device });
  const small = await loadModel(files.small, { device });
  using run = new ExplorerRun({ large, small }, request);
  const tracks = (await run.start()).map((step) => [step]);
  for (let step = 1; step <= count && !run.isDone; step++) {
    (await run.step()).forEach((made, place) => made && tracks[place]!.push(made));
  }
  return tracks;
}

async function comparePage(page: Page, step: number): Promise<void> {
  await waitForStep(page, step);
  const { request, tracks } = await savedData(page);
  const expected = await expectedTracks(request, step);
  tracks.forEach(({ policy, steps }, place) => {
    assertEquals(steps.length, expected[place]!.length, policy);
    steps.forEach(({ tiers, next, kl, deviceBytes, hostBytes, smallBytes }, index) => {
      const other = expected[place]![index]!;
      const name = `${policy}, step ${index}`;
      assertEquals([next, kl], [other.next, other.kl], name);
      assertEquals([deviceBytes, smallBytes, hostBytes], [
        other.deviceBytes,
        other.smallBytes,
        other.hostBytes,
      ]);
      assertEquals(tiers?.join(""), other.tiers && [...other.tiers].join(""), name);
    });
  });
  await compareCards(page, tracks);
}

/** What cards show is what was recorded. */
async function compareCards(
  page: Page,
  tracks: Awaited<ReturnType<typeof savedData>>["tracks"],
): Promise<void> {
  for (const { policy, steps } of tracks) {
    const card = page.locator(`article[data-policy="${policy}"]`);
    const text = await card.locator("p.text").textContent();
    const written = steps.map(({ next }) => next.text ?? "▪").join("");
    assert(text!.endsWith(written), `${policy}: ${text!.slice(-80)} and ${written}`);
    const { kl } = steps.at(-1)!;
    const shown = await card.locator('dd[data-value="kl"]').textContent();
    if (kl === undefined) assertEquals(shown, "texts differ");
    else if (kl >= 0.001) assertEquals(shown, `${kl.toFixed(3)} nats`);
  }
}

/** Drops a file, as a user does. */
async function drop(page: Page, files: Readonly<Record<string, Uint8Array>>): Promise<void> {
  const sent = Object.entries(files).map(([name, bytes]) => [name, bytes.toBase64()]);
  await page.evaluate(`{
    const files = new DataTransfer();
    for (const [name, text] of ${JSON.stringify(sent)}) {
      files.items.add(new File([Uint8Array.fromBase64(text)], name));
    }
    dispatchEvent(new DragEvent("drop", { dataTransfer: files, bubbles: true, cancelable: true }));
  }`);
}

Deno.test({
  name: "the explorer's page in Chromium",
  ignore: chromium === undefined,
  sanitizeOps: false, // Playwright's connection ends after the test has
  sanitizeResources: false,
  async fn(test) {
    const sent: number[] = [];
    const onFile = (_: string, bytes: number) => sent.push(bytes);
    await using site = await visitSite(chromium!, { base: BASE, isIsolated: false, onFile });
    const { browser, page, said, asked, open } = site;

    await test.step("transfers little on a first visit", async () => {
      await open("policies=h2o,smallkv");
      await waitForStep(page, 1);
      await page.evaluate("navigator.serviceWorker.ready");
      const bytes = sent.reduce((sum, size) => sum + size, 0);
      assert(bytes > 4e6 && bytes < MAX_BYTES, `${bytes} bytes`);
    });

    for (
      const hash of [
        "policies=h2o,smallkv,smallkv_query_aware&budget=0.1&step=6&reads=own&options=smallkv.sink:4",
        "policies=tova,key_sketch,streaming&budget=0.2&step=4&reads=full&example=1",
        "policies=snapkv,quest,pyramid_scaled&budget=0.3&step=3&reads=full&example=3",
      ]
    ) {
      await test.step(`shows what the library computes: ${hash}`, async () => {
        await open(hash);
        await comparePage(page, Number(/step=(\d+)/.exec(hash)![1]));
      });
    }

    await test.step("goes back without computing, and forward", async () => {
      await page.getByRole("button", { name: "Back one step" }).click();
      await waitForStep(page, 2);
      await page.getByRole("button", { name: "Forward one step" }).click();
      await page.getByRole("button", { name: "Forward one step" }).click();
      await comparePage(page, 4);
    });

    await test.step("takes options from the form, and explains those that do not go together", async () => {
      const summary = page.locator("summary", { hasText: "Options of snapkv" });
      await summary.focus();
      await page.keyboard.press("Enter");
      await page.locator("#snapkv-ties").selectOption("later");
      await page.getByRole("button", { name: "Run with these changes" }).click();
      await waitForStep(page, 1);
      const { request } = await savedData(page);
      assertEquals(request.options, { snapkv: { ties: "later" } });
      const code = await page.evaluate<string>("location.hash");
      assert(code.includes("options=snapkv.ties%3Alater"), code);
      const text = await page.locator("p.text").first().textContent();
      await page.locator("summary", { hasText: "Options of quest" }).click();
      await page.locator("#quest-granularity").selectOption("kv_match");
      await page.getByRole("button", { name: "Run with these changes" }).click();
      await page.locator("[role=alert]", { hasText: /^Cannot set up policy quest: granularity/ })
        .waitFor({ timeout: 20_000 });
      assertEquals(await page.locator("p.text").first().textContent(), text);
      await page.getByRole("button", { name: "Dismiss" }).click();
      await page.locator("#quest-granularity").selectOption("");
    });

    await test.step("is accessible in light and dark, with a head chosen", async () => {
      await page.locator("svg#map").waitFor({ timeout: 60_000 });
      await checkAccess(page);
    });

    await test.step("tints by saliency, and shows what was dropped and needed", async () => {
      await page.getByLabel("Tint texts by").selectOption("saliency");
      await page.getByRole("combobox", { name: /^Show/ }).selectOption("needs");
      await page.locator("p.needs").waitFor({ timeout: 30_000 });
      await page.locator('article[data-policy="full"] span[style*="background"]').first().waitFor();
      await checkAccess(page);
      await page.getByRole("button", { name: "Forward one step" }).click();
      await page.locator("path.fill-missed").waitFor({ timeout: 30_000 });
    });

    await test.step("can be read at 380 pixels, without scrolling sideways", () =>
      checkNarrowPage(page));

    await test.step("can be used by keyboard", async () => {
      await page.getByRole("slider", { name: "Token" }).focus();
      await page.keyboard.press("ArrowRight");
      await page.locator('input[aria-valuetext^="1 “"]').waitFor();
      await page.getByRole("button", { name: /^Layer 1, head 2/ }).focus();
      await page.keyboard.press("Enter");
      await page.getByRole("heading", { name: /^Layer 1, head 2 follows/ }).waitFor();
    });

    await test.step("saves a figure that needs no style sheet", async () => {
      const [download] = await Promise.all([
        page.waitForEvent("download"),
        page.getByRole("button", { name: "Save The film as SVG" }).click(),
      ]);
      const svg = await Deno.readTextFile(await download.path());
      assert(svg.startsWith("<svg") && svg.includes('fill="rgb('), svg.slice(0, 200));
      assert(!svg.includes("class=") && !svg.includes("var("));
    });

    await test.step("saves a figure as a picture, and attention as safetensors", async () => {
      const saved = async (name: string) => {
        const [download] = await Promise.all([
          page.waitForEvent("download"),
          page.getByRole("button", { name }).click(),
        ]);
        return await Deno.readFile(await download.path());
      };
      const png = await saved("Save The film as PNG");
      assertEquals([...png.subarray(1, 4)], [0x50, 0x4e, 0x47]);
      const width = new DataView(png.buffer).getUint32(16);
      const box = await page.locator("svg#film").boundingBox();
      assert(Math.abs(width - 2 * box!.width) <= 2, `${width} for ${box!.width}`);
      const file = await saved("Save attention (safetensors)");
      const length = Number(new DataView(file.buffer).getBigUint64(0, true));
      const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length)));
      const names = Object.keys(header).filter((name) => name !== "__metadata__");
      assertEquals(names, ["tokens", "accumulated", "attention.1.2"], "of the head that is shown");
      assertEquals(header.accumulated.data_offsets[1] < file.length, true);
    });

    await test.step("explains files that are no models, and keeps what was there", async () => {
      const text = await page.locator("p.text").first().textContent();
      for (
        const [files, expected] of [
          [{ "broken.gguf": new Uint8Array(5000).fill(7) }, /^Cannot read broken\.gguf: /],
          [{ "notes.txt": new Uint8Array(10) }, /^Cannot open notes\.txt: drop GGUF files/],
          [{ "empty.gguf": new Uint8Array(0) }, /^Cannot read empty\.gguf: /],
        ] as const
      ) {
        await drop(page, files as Record<string, Uint8Array>);
        const alert = page.locator("[role=alert]", { hasText: expected });
        await alert.waitFor({ timeout: 20_000 });
        await alert.getByRole("button", { name: "Dismiss" }).click();
      }
      assertEquals(await page.locator("p.text").first().textContent(), text);
    });

    await test.step("opens files that are dropped, if they go together", async () => {
      const file = (name: string) =>
        Deno.readFile(new URL(`../fixtures/tiny_gguf/${name}.gguf`, import.meta.url));
      const model = await file("qwen2_mixed");
      await drop(page, { "one.gguf": model, "other.gguf": await file("qwen2_k_quants") });
      await page.locator("[role=alert]", { hasText: "both models must have the same vocabulary" })
        .waitFor({ timeout: 30_000 });
      await drop(page, { "large.gguf": model, "small.gguf": model });
      await page.locator('[data-state="open"]', { hasText: "large guided by small" })
        .waitFor({ timeout: 30_000 });
      await waitForStep(page, 1);
      await drop(page, { "alone.gguf": model });
      await page.locator('[data-state="open"]', { hasText: "alone, without a small model" })
        .waitFor({ timeout: 30_000 });
      await waitForStep(page, 1);
      assertEquals(await page.locator('article[data-policy="smallkv"]').count(), 0);
    });

    await test.step("opens parts of a split file, and a folder with safetensors", async () => {
      const path = (name: string) => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));
      const parts = splitGguf({
        metadata: [...ggufMetadata({ ...TINY, contextLength: 4096 }), ...TOKENIZER],
        tensors: ggufTensors(tinyWeights(TINY)),
      }, 2).map(encodeGguf);
      await drop(page, {
        "tiny-00001-of-00002.gguf": parts[0]!,
        "tiny-00002-of-00002.gguf": parts[1]!,
      });
      await page.locator('[data-state="open"]', { hasText: "tiny, without a small model" })
        .waitFor({ timeout: 30_000 });
      await drop(page, { "tiny-00001-of-00002.gguf": parts[0]! });
      await page.locator("[role=alert]", { hasText: "tiny-00002-of-00002.gguf" })
        .waitFor({ timeout: 30_000 });
      const [chooser] = await Promise.all([
        page.waitForEvent("filechooser"),
        page.getByRole("button", { name: "Open a folder…" }).click(),
      ]);
      await chooser.setFiles(path("../../data/embedded/small"));
      await page.locator('[data-state="open"]', { hasText: "small, without a small model" })
        .waitFor({ timeout: 30_000 });
      // The usual example is longer than the context of this model.
      await page.locator("[role=alert]", { hasText: "must fit the context of 512" }).waitFor();
      await page.getByRole("textbox", { name: "Prompt" }).fill("Glen has a red ball.");
      await page.getByRole("button", { name: "Run with these changes" }).click();
      await waitForStep(page, 1);
    });

    await test.step("computes on another device, and says where there is none", async () => {
      await page.getByRole("combobox", { name: /^Device/ }).selectOption("webgpu");
      await page.locator("[role=alert]").waitFor({ timeout: 60_000 });
      assertEquals(await page.getByRole("combobox", { name: /^Device/ }).inputValue(), "cpu");
      await page.getByRole("combobox", { name: /^Device/ }).selectOption("auto");
      await page.locator('[data-state="open"]', { hasText: "CPU" }).waitFor({ timeout: 60_000 });
      await waitForStep(page, 1);
      await page.getByRole("combobox", { name: /^Where tokens that may/ }).selectOption("resident");
      await page.getByRole("button", { name: "Run with these changes" }).click();
      await waitForStep(page, 1);
      assertEquals((await savedData(page)).request.store, "resident");
    });

    await test.step("does not block the page while it computes", async () => {
      const shown = "tint=saliency&film=needs";
      await open(`policies=h2o,smallkv,smallkv_query_aware&budget=0.1&step=1&${shown}`);
      await page.locator("svg#map").waitFor({ timeout: 120_000 });
      await browser.startTracing(page, { categories: TRACED });
      await page.getByRole("button", { name: "Play" }).click();
      await page.locator("output.step", { hasText: "the end" }).waitFor({ timeout: 240_000 });
      const tasks = pageTasks(await browser.stopTracing());
      assert(tasks.length > 50, `${tasks.length} tasks`);
      const longest = Math.max(...tasks);
      assert(longest < MAX_BLOCKED_MS, `${longest} ms`);
    });

    await test.step("says nothing in the console, and asks for its own files alone", () => {
      assertEquals(said, []);
      assertEquals(strangers(asked, site.address), []);
    });

    await test.step("works offline after a visit", async () => {
      await site.stopServer();
      await open("policies=h2o&step=1");
      await comparePage(page, 1);
    });
  },
});
