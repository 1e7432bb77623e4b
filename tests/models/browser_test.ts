/**
 * The embedded pair as a web page and as a module of a registry load it: from addresses.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import type { Browser } from "playwright-core";
import { EMBEDDED_MAX_TOKENS } from "../../data/embedded.ts";
import { findChromium } from "../../experiments/figures/chromium.ts";
import { serveFolders } from "../support/file_server.ts";
import { largest, largestDifference } from "../support/golden.ts";
import { type PageInput, type PageOutput, runOnce } from "./browser_page.ts";

const folderOf = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const EMBEDDED = folderOf("../../data/embedded");
const TEXT = " Uma has the harp. It was late. Zoe lives in Crag.\nReport from Uma:";
const chromium = await findChromium();
if (chromium === undefined) console.warn("Browser tests are skipped: no Chromium was found");

for (const role of ["large", "small"]) {
  Deno.test(`loadModel() reads the embedded ${role} model from an address`, async () => {
    await using server = serveFolders({ embedded: EMBEDDED });
    const input = { backend: "reference", text: TEXT } as const;
    const served = await runOnce({ ...input, address: `${server.address}/embedded/${role}/` });
    const local = await runOnce({ ...input, address: `${EMBEDDED}/${role}` });
    assertEquals(served, local);
    assert(served.tokens.length < EMBEDDED_MAX_TOKENS);
  });
}

/** Bundles the page for browsers. */
async function bundlePage(folder: string): Promise<void> {
  const command = new Deno.Command(Deno.execPath(), {
    args: [
      ...["bundle", "--platform", "browser", "--code-splitting", "--outdir", folder],
      folderOf("./browser_page.ts"),
    ],
    cwd: folderOf("../.."),
  });
  const { success, stderr } = await command.output();
  assert(success, new TextDecoder().decode(stderr));
}

async function startBrowser(): Promise<Browser> {
  const playwright = await import("playwright-core");
  return await playwright.chromium.launch({
    executablePath: chromium!,
    args: [
      ...(Deno.uid() === 0 ? ["--no-sandbox"] : []), // its sandbox refuses root
      "--enable-unsafe-webgpu",
      "--use-webgpu-adapter=swiftshader",
    ],
    timeout: 60_000,
  });
}

Deno.test({
  name: "a page loads the embedded pair in Chromium and computes what Deno computes",
  ignore: chromium === undefined,
  async fn(test) {
    const folder = await Deno.makeTempDir();
    await bundlePage(folder);
    await Deno.writeTextFile(
      `${folder}/index.html`,
      `<!doctype html><script type="module" src="browser_page.js"></script>`,
    );
    await using server = serveFolders({ embedded: EMBEDDED, page: folder });
    await using browser = await startBrowser();
    const page = await browser.newPage();
    page.on("pageerror", (error) => console.error(error.message));
    await page.goto(`${server.address}/page/index.html`);
    await page.waitForFunction("globalThis.runOnce !== undefined");
    const inPage = (input: PageInput) =>
      page.evaluate(`runOnce(${JSON.stringify(input)})`) as Promise<PageOutput>;
    const hasGpu = await page.evaluate("navigator.gpu?.requestAdapter().then((a) => a !== null)");
    if (hasGpu !== true) console.warn("WebGPU in Chromium is skipped: it found no adapter");
    for (const role of ["large", "small"]) {
      const input = { address: `${server.address}/embedded/${role}/`, text: TEXT };
      const expected = await runOnce({ ...input, backend: "reference" });
      await test.step(`${role} on the reference device`, async () => {
        assertEquals(await inPage({ ...input, backend: "reference" }), expected);
      });
      await test.step({
        name: `${role} on WebGPU`,
        ignore: hasGpu !== true,
        fn: async () => {
          const actual = await inPage({ ...input, backend: "webgpu" });
          assertEquals(actual.backend, "webgpu");
          assertEquals(actual.tokens, expected.tokens);
          const error = largestDifference(actual.logits, expected.logits);
          assert(error < 1e-3 * largest(expected.logits), `logits differ by ${error}`);
        },
      });
    }
    await Deno.remove(folder, { recursive: true });
  },
});
