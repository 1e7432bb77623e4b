import { assert, assertEquals } from "@std/assert";
import { compare } from "../../examples/own_policy.ts";
import { exportAttention } from "../../examples/export_attention.ts";
import { continueText } from "../../examples/browser/page.ts";
import { servePage } from "../../examples/browser/serve.ts";
import { embeddedPair } from "../../data/embedded.ts";
import { evaluationItems } from "../../data/microworld.ts";
import { findChromium, startChromium } from "../../experiments/figures/chromium.ts";
import { hasGpu } from "../support/gpu.ts";

/** Long enough that policies drop tokens of it. */
const LONG = evaluationItems("route", { count: 1 })[0]!.prompt;
const PROMPT = " Uma has the harp. It was late. Zoe lives in Crag.\nReport from Uma:";
const chromium = await findChromium();
if (chromium === undefined) console.error("browser example: skipped, no Chromium was found");

Deno.test({
  name: "own_policy.ts continues a text under its policy",
  ignore: !hasGpu,
  async fn() {
    const texts = await compare(LONG);
    assertEquals(Object.keys(texts), ["spaced", "h2o", "smallkv"]);
    assertEquals(new Set(Object.values(texts)).size, 3, JSON.stringify(texts));
  },
});

Deno.test({
  name: "export_attention.ts writes a map of each head and what tokens receive",
  ignore: !hasGpu,
  async fn() {
    const path = await Deno.makeTempFile({ suffix: ".safetensors" });
    try {
      await exportAttention(embeddedPair().large, PROMPT, path);
      const bytes = await Deno.readFile(path);
      const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
      const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
      const { tokens } = header.__metadata__;
      const count = JSON.parse(tokens).length;
      assertEquals(header.received.shape, [6, 8, count]);
      assertEquals(header["attention.5.7"].shape, [count, count]);
      const [start] = header["attention.0.0"].data_offsets;
      const row = new Float32Array(bytes.slice(8 + length + start).buffer, 0, count);
      assert(Math.abs(row.reduce((sum, value) => sum + value, 0) - 1) < 1e-5);
    } finally {
      await Deno.remove(path);
    }
  },
});

Deno.test("browser/page.ts continues a text with models from an address", async () => {
  await using server = await servePage(0);
  const run = { pair: `${server.address}embedded/`, prompt: LONG, backend: "cpu" } as const;
  const write = async (policy: string, budget: number) =>
    (await Array.fromAsync(continueText({ ...run, policy, budget }))).join("");
  const [full, dropped] = [await write("full", 1), await write("h2o", 0.1)];
  assert(full.trim().length > 0 && dropped.trim().length > 0 && full !== dropped, dropped);
  const index = await (await fetch(server.address)).text();
  assert(index.includes('from "./page.js"'));
  const bundle = await (await fetch(`${server.address}page.js`)).text();
  assertEquals(bundle.match(/^import .* from "node:/gm), null);
});

Deno.test({
  name: "browser/index.html continues a text in Chromium",
  ignore: chromium === undefined,
  async fn() {
    await using server = await servePage(0);
    const flags = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];
    await using browser = await startChromium(chromium!, flags);
    const page = await browser.newPage();
    await page.goto(server.address);
    await page.locator("button").click();
    await page.locator("output[data-state]").waitFor({ timeout: 120_000 });
    const state = await page.locator("output").getAttribute("data-state");
    const text = await page.locator("output").textContent();
    assertEquals(state, "done", text ?? "");
    assert(text!.trim().length > 0);
  },
});
