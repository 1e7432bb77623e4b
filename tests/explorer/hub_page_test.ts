/**
 * Models of the hub in the explorer's page, from a hub on this machine into the storage of Chromium.
 *
 * @module
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import type { Page } from "playwright-core";
import { findChromium } from "../../experiments/figures/chromium.ts";
import {
  checkAccess,
  checkNarrowPage,
  strangers,
  tinyGguf,
  visitSite,
  waitForStep,
} from "../support/explorer_page.ts";
import { startHub } from "../support/hub_server.ts";
import { COMMIT } from "../support/tiny_hub.ts";

const chromium = await findChromium();
if (chromium === undefined) console.warn("Models of the hub are skipped: no Chromium was found");

const TINY_NAME = "hf:org/tiny/tiny.gguf";
const FOLDER_NAME = "hf:org/folder";
const EMBEDDED_FILES = [
  "config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "model.safetensors",
];

async function startTinyHub() {
  const gguf = tinyGguf();
  const folder = new URL("../../data/embedded/small/", import.meta.url);
  const entries = await Promise.all(
    EMBEDDED_FILES.map(async (name) => [name, await Deno.readFile(new URL(name, folder))] as const),
  );
  return startHub({
    "org/tiny": { commit: COMMIT, files: { "tiny.gguf": gguf, "other.gguf": gguf } },
    "org/folder": { commit: COMMIT, files: Object.fromEntries(entries) },
  });
}

/** Types names and asks for them. */
async function ask(page: Page, hub: string, large: string, small = ""): Promise<void> {
  await page.getByRole("textbox", { name: "Large model" }).fill(large);
  await page.getByRole("textbox", { name: "Small model" }).fill(small);
  await page.getByRole("textbox", { name: "Address of the hub" }).fill(hub);
  await page.getByRole("button", { name: /^(Fetch and open|Open)$/ }).click();
}

/** Waits for a sentence about what went wrong. */
async function fault(page: Page, text: RegExp): Promise<void> {
  await page.locator(".hub [role=alert]", { hasText: text }).waitFor({ timeout: 60_000 });
}

const row = (page: Page, name: string) => page.locator(`.hub tr[data-model="${name}"]`);
const fold = (page: Page) => page.getByRole("heading", { name: /Hugging Face hub/ }).click();
const opened = (page: Page, text: string) =>
  page.locator('[data-state="open"]', { hasText: text }).waitFor({ timeout: 60_000 });

Deno.test({
  name: "the explorer's page fetches models of the hub and keeps them",
  ignore: chromium === undefined,
  sanitizeOps: false, // Playwright's connection ends after the test has
  sanitizeResources: false,
  async fn(test) {
    await using site = await visitSite(chromium!);
    const { page, said, asked } = site;
    const hub = await startTinyHub();
    const start = (hash: string) => site.open(`policies=h2o&new=4&prompt=ABC&${hash}`);
    await start("");

    await test.step("asks the hub for nothing before somebody does", async () => {
      await page.evaluate("navigator.serviceWorker.ready");
      await fold(page);
      await page.getByText("Nothing is stored in this browser yet.").waitFor();
      await page.getByRole("textbox", { name: "Large model" }).fill(TINY_NAME);
      assertEquals(hub.requests, []);
    });

    await test.step("shows progress, and stops without taking a part for the whole", async () => {
      hub.faults.delayMs = 40;
      hub.faults.stallsAfter = 20_000;
      await ask(page, hub.endpoint, TINY_NAME);
      const shown = page.locator('[data-value="fetched"]', { hasText: /\/s$/ });
      await shown.waitFor({ timeout: 30_000 });
      assertMatch((await shown.textContent())!, /^[\d.]+ KiB of 51\.1 KiB \(\d+ %\), .+\/s$/);
      await checkAccess(page);
      await page.getByRole("button", { name: /^Stop/ }).click();
      await row(page, TINY_NAME).getByText(/not whole/).waitFor();
      assertEquals(await page.locator("p.pair strong").textContent(), "The embedded pair");
    });

    await test.step("keeps a part through a reload, and opens the embedded pair instead", async () => {
      await start(`large=${encodeURIComponent(TINY_NAME)}`);
      const alert = page.locator("[role=alert]", {
        hasText: `Cannot open ${TINY_NAME}: it must be`,
      });
      await alert.waitFor({ timeout: 60_000 });
      await opened(page, "The embedded pair");
      await waitForStep(page, 1);
      await fold(page);
      await row(page, TINY_NAME).getByText(/not whole/).waitFor();
    });

    await test.step("continues where it broke off, and opens what was fetched", async () => {
      Object.assign(hub.faults, { delayMs: 0, stallsAfter: Infinity });
      hub.requests.length = 0;
      await ask(page, hub.endpoint, TINY_NAME);
      await opened(page, "tiny, without a small model");
      await waitForStep(page, 1);
      assertMatch(hub.requests.join("\n"), /GET \/storage\/org\/tiny\/tiny\.gguf bytes=[1-9]\d*-/);
      assertEquals(await row(page, TINY_NAME).locator("td").first().textContent(), "51.1 KiB");
      await page.waitForFunction(`location.hash.includes("large=hf")`);
    });

    await test.step("survives connections that break off", async () => {
      hub.faults.cuts = [300_000, 300_000];
      await ask(page, hub.endpoint, FOLDER_NAME);
      await opened(page, "folder, without a small model");
      await waitForStep(page, 1);
      assertEquals(hub.faults.cuts, []);
      assertEquals(await row(page, FOLDER_NAME).locator("td").first().textContent(), "1.1 MiB");
    });

    await test.step("copies names that the library takes", async () => {
      await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
      await page.getByRole("button", { name: "Copy as code" }).click();
      const code = await page.evaluate<string>("navigator.clipboard.readText()");
      assert(code.includes(`loadModel("${FOLDER_NAME}")`), code);
    });

    await test.step("explains what cannot be fetched, and keeps what was there", async () => {
      const text = await page.locator("p.text").first().textContent();
      await ask(page, hub.endpoint, "hf:org/none");
      await fault(page, /the model must exist .* current status is 404/);
      await ask(page, hub.endpoint, "hf:org/tiny");
      await fault(
        page,
        /one of its \.gguf files must be named, as hf:org\/tiny\/(tiny|other)\.gguf/,
      );
      await ask(page, hub.endpoint, "tiny");
      await fault(page, /a hub reference must be hf:ORG\/NAME/);
      hub.faults.hasWrongHash = true;
      await ask(page, hub.endpoint, "hf:org/tiny/other.gguf");
      await fault(page, /the hash of other\.gguf must be/);
      hub.faults.hasWrongHash = false;
      await row(page, "hf:org/tiny/other.gguf").getByText(/^0 B of .*not whole/).waitFor();
      assertEquals(await page.locator("p.text").first().textContent(), text);
    });

    await test.step("removes a model", async () => {
      const name = "hf:org/tiny/other.gguf";
      await page.getByRole("button", { name: `Remove ${name}` }).click();
      await row(page, name).waitFor({ state: "detached" });
      assertEquals(await page.locator(".hub tbody tr").count(), 2);
    });

    await test.step("can be read at 380 pixels, without scrolling sideways", () =>
      checkNarrowPage(page));

    await test.step("says nothing in the console but what broke off, and asks its host and the hub alone", () => {
      // Chromium itself reports answers that are errors.
      assertEquals(said.filter((text) => !text.includes("Failed to load resource")), []);
      const { port } = new URL(hub.endpoint);
      const others = strangers(asked, site.address);
      assertEquals(others.filter((url) => new URL(url).port !== port), []);
      assert(others.some((url) => url.startsWith(hub.endpoint)));
    });

    await test.step("says that the hub cannot be reached, and opens what is stored without it", async () => {
      await hub[Symbol.asyncDispose]();
      await ask(page, hub.endpoint, "hf:org/tiny/other.gguf");
      await fault(page, /the server must answer/);
      await ask(page, hub.endpoint, TINY_NAME);
      await opened(page, "tiny, without a small model");
      await page.waitForFunction(`location.hash.includes("tiny.gguf")`);
      await site.stopServer();
      await page.reload();
      await opened(page, "tiny, without a small model");
      await waitForStep(page, 1);
    });
  },
});
