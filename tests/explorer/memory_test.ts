/**
 * Memory of the explorer's page with real models, on the CPU device.
 *
 * @module
 */

import { assert } from "@std/assert";
import type { Browser } from "playwright-core";
import { findChromium, startChromium } from "../../experiments/figures/chromium.ts";
import { serveSite } from "../../explorer/serve_site.ts";
import { buildSite } from "../../explorer/site.ts";
import { waitForStep } from "../support/explorer_page.ts";
import { realModel } from "../support/real_models.ts";

/** Most memory of the page's process at any time, over the bytes of the files, with the usual three policies. */
const MOST_SHARE = 1.3;
const LOOK_MS = 200;
const FILES = [
  "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
  "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
];

const chromium = await findChromium();
const paths = FILES.map(realModel).filter((path) => path !== undefined);

/** Bytes of the largest process of a page: resident, what it shares with others in parts. */
async function pageBytes(processes: readonly number[]): Promise<number> {
  const sizes = await Promise.all(processes.map(async (id) => {
    const text = await Deno.readTextFile(`/proc/${id}/smaps_rollup`).catch(() => "");
    return 1024 * Number(/^Pss:\s+(\d+) kB/m.exec(text)?.[1] ?? 0);
  }));
  return Math.max(...sizes);
}

async function pageProcesses(browser: Browser): Promise<number[]> {
  const session = await browser.newBrowserCDPSession();
  const { processInfo } = await session.send("SystemInfo.getProcessInfo");
  await session.detach();
  return processInfo.filter(({ type }) => type === "renderer").map(({ id }) => id);
}

Deno.test({
  name: "the explorer's page needs at most 1.3 times the bytes of two models that are dropped",
  ignore: chromium === undefined || paths.length < FILES.length || Deno.build.os !== "linux",
  sanitizeOps: false, // Playwright's connection ends after the test has
  sanitizeResources: false,
  async fn() {
    const folder = await Deno.makeTempDir({ prefix: "smallkv-" });
    await buildSite(folder);
    await using server = serveSite(folder, { port: 0 });
    await using browser = await startChromium(chromium!);
    const page = await browser.newPage();
    await page.goto(`${server.address}#device=cpu`);
    await waitForStep(page, 1);
    const [chooser] = await Promise.all([
      page.waitForEvent("filechooser"),
      page.getByRole("button", { name: "Open your own models…" }).click(),
    ]);
    const processes = await pageProcesses(browser);
    let most = 0;
    let isOpen = true;
    const looking = (async () => {
      while (isOpen) {
        most = Math.max(most, await pageBytes(processes));
        await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      }
    })();
    await chooser.setFiles(paths);
    const guided = page.locator('[data-state="open"]', { hasText: "guided by" });
    await guided.waitFor({ timeout: 600_000 });
    await waitForStep(page, 1, 600_000);
    await page.getByRole("button", { name: "Forward one step" }).click();
    await waitForStep(page, 2, 600_000);
    isOpen = false;
    await looking;
    const files = paths.reduce((sum, path) => sum + Deno.statSync(path).size, 0);
    const share = most / files;
    console.log(`The page took at most ${share.toFixed(3)} times the bytes of its models`);
    assert(share <= MOST_SHARE, `${share} times ${files} bytes`);
    await Deno.remove(folder, { recursive: true });
  },
});
