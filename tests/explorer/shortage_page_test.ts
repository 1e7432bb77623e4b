/**
 * The explorer's page in a Chromium that has little memory, or little storage.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import type { Page } from "playwright-core";
import { findChromium } from "../../experiments/figures/chromium.ts";
import { tinyGguf, visitSite, waitForStep } from "../support/explorer_page.ts";
import { startHub } from "../support/hub_server.ts";
import { COMMIT } from "../support/tiny_hub.ts";

const chromium = await findChromium();
if (chromium === undefined) console.warn("Shortages are skipped: no Chromium was found");

/** Memory of WebAssembly that holds the embedded pair and a run, and neither a long run nor a model of 23 MB. */
const PAGES = 12 * 16;
const SHOWN = "policies=h2o,smallkv&new=8&step=2";

const fault = (page: Page, text: RegExp) =>
  page.locator("[role=alert]", { hasText: text }).waitFor({ timeout: 60_000 });
const firstText = (page: Page) => page.locator("p.text").first().textContent();

Deno.test({
  name: "the explorer's page says what to do where memory is short, and keeps what was there",
  ignore: chromium === undefined,
  sanitizeOps: false, // Playwright's connection ends after the test has
  sanitizeResources: false,
  async fn(test) {
    const flags = [`--js-flags=--wasm-max-mem-pages=${PAGES}`];
    await using site = await visitSite(chromium!, { isIsolated: false, flags });
    const { page, said } = site;
    await site.open(SHOWN);
    await waitForStep(page, 2);
    const text = await firstText(page);

    await test.step("for a run", async () => {
      await page.getByRole("textbox", { name: "Prompt" }).fill("Glen has a red ball. ".repeat(70));
      await page.getByRole("button", { name: "Run with these changes" }).click();
      await fault(page, /^Cannot .*(shorter).*(fewer new tokens).* need less/);
      await waitForStep(page, 2);
      assertEquals(await firstText(page), text);
      await page.getByRole("button", { name: "Forward one step" }).click();
      await waitForStep(page, 3);
    });

    await test.step("for other models", async () => {
      const before = await firstText(page);
      const [chooser] = await Promise.all([
        page.waitForEvent("filechooser"),
        page.getByRole("button", { name: "Open your own models…" }).click(),
      ]);
      const buffer = Buffer.from(tinyGguf(40_000));
      await chooser.setFiles([{ name: "wide.gguf", mimeType: "", buffer }]);
      await fault(page, /^Cannot .*; smaller models need less/);
      assertEquals(await page.locator("p.pair strong").textContent(), "The embedded pair");
      assertEquals(await firstText(page), before);
      await page.getByRole("button", { name: "Forward one step" }).click();
      await waitForStep(page, 4);
    });
    assertEquals(said, []);
  },
});

Deno.test({
  name: "the explorer's page works by plain HTTP, where browsers store nothing, and says so",
  ignore: chromium === undefined,
  sanitizeOps: false, // Playwright's connection ends after the test has
  sanitizeResources: false,
  async fn() {
    const flags = ["--host-resolver-rules=MAP explorer.test 127.0.0.1"];
    await using site = await visitSite(chromium!, { isIsolated: false, flags });
    const { page } = site;
    await page.goto(`${site.address.replace("127.0.0.1", "explorer.test")}#device=cpu&${SHOWN}`);
    await waitForStep(page, 2);
    assertEquals(await page.evaluate("[isSecureContext, navigator.storage]"), [false, undefined]);
    const text = await firstText(page);
    await page.getByRole("heading", { name: /Hugging Face hub/ }).click();
    await fault(
      page,
      /^Cannot keep models: .* or open the page by HTTPS; .*: current storage is none$/,
    );
    assertEquals(await firstText(page), text);
    await page.getByRole("button", { name: "Forward one step" }).click();
    await waitForStep(page, 3);
  },
});

Deno.test({
  name: "the explorer's page says what to do where storage is short, and keeps what was there",
  ignore: chromium === undefined,
  sanitizeOps: false, // Playwright's connection ends after the test has
  sanitizeResources: false,
  async fn() {
    await using site = await visitSite(chromium!);
    const { page } = site;
    await using hub = startHub({
      "org/tiny": { commit: COMMIT, files: { "tiny.gguf": tinyGguf() } },
    });
    await site.open(SHOWN);
    await waitForStep(page, 2);
    const text = await firstText(page);
    const session = await page.context().newCDPSession(page);
    const { origin } = new URL(site.address);
    await session.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: 30_000 });
    await page.getByRole("heading", { name: /Hugging Face hub/ }).click();
    await page.getByRole("textbox", { name: "Large model" }).fill("hf:org/tiny/tiny.gguf");
    await page.getByRole("textbox", { name: "Address of the hub" }).fill(hub.endpoint);
    await page.getByRole("button", { name: "Fetch and open" }).click();
    await fault(
      page,
      /^Cannot keep hf:org\/tiny\/tiny\.gguf: .*: remove models from the list, or free space/,
    );
    assertEquals(await firstText(page), text);
    assert(!hub.requests.some((one) => one.includes("/storage/")), "nothing is fetched in vain");
    await session.send("Storage.overrideQuotaForOrigin", { origin });
    await page.getByRole("button", { name: "Fetch and open" }).click();
    await page.locator('[data-state="open"]', { hasText: "tiny, without a small model" })
      .waitFor({ timeout: 60_000 });
  },
});
