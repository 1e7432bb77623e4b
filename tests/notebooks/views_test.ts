import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import type { AttentionMap } from "../../analysis/attention_map.ts";
import { h2o } from "../../cache/policies/h2o.ts";
import { TIER } from "../../cache/token_tier.ts";
import { RequirementError } from "../../core/check.ts";
import { dropTimeline } from "../../notebooks/drop_timeline.ts";
import { attentionView, saliencyView } from "../../notebooks/views/attention_view.tsx";
import { headPairView, headsView } from "../../notebooks/views/heads_view.tsx";
import { tokenLabels } from "../../notebooks/views/labels.ts";
import type { NamedView } from "../../notebooks/views/named_view.ts";
import { divergenceView, policiesView } from "../../notebooks/views/policies_view.tsx";
import { sliderView } from "../../notebooks/views/slider_view.ts";
import { saliencyText } from "../../notebooks/views/text_view.tsx";
import { tierView } from "../../notebooks/views/tier_view.tsx";
import { findChromium, startChromium } from "../../experiments/figures/chromium.ts";
import { drawView } from "../../notebooks/draw_view.ts";
import type { Lab } from "../../notebooks/lab.ts";
import { axeFaults } from "../support/axe.ts";
import { plotlyValidator } from "../support/plotly.ts";

const TOKENS = 6;
const LABELS = Array.from({ length: TOKENS }, (_, position) => `${position} t`);
const MAP: AttentionMap = {
  layer: 1,
  head: 2,
  queries: TOKENS,
  keys: TOKENS,
  values: Float32Array.from(
    { length: TOKENS * TOKENS },
    (_, index) => index % TOKENS <= index / TOKENS ? 1 / (1 + Math.floor(index / TOKENS)) : 0,
  ),
};
const STEPS = dropTimeline(MAP, { policy: h2o, budgetRatio: 0.5, promptTokens: 3 });
const NAMES = { name: "n", title: "T", labels: LABELS, caption: "n = 1." };
const TEXTS = [null, "a", " b", "\n", "<c", " d"];

/** The parts of a lab that views use. */
const LAB = {
  large: { config: { kvHeads: 2 } },
  models: { large: { tokenTexts: (ids: readonly number[]) => ids.map((id) => TEXTS[id]!) } },
} as unknown as Lab;

const similar = (value: number) => ({
  jaccard: Float64Array.of(value, 1 - value),
  cosine: Float64Array.of(value / 2, value),
});
const HEADS = {
  comparison: {
    tokens: 3,
    large: Float32Array.of(3, 2, 1, 0.5, 0.25, 0.125),
    small: Float32Array.of(2, 2, 2),
    match: Uint32Array.of(0, 0),
    matched: similar(0.75),
    random: similar(0.25),
    mean: similar(0.5),
  },
  layers: 1,
  queryHeads: 2,
  smallHeads: 1,
  labels: LABELS.slice(0, 3),
};
const NOTHING_HELD = Uint8Array.of(...Array(5).fill(TIER.dropped));
const SIDE = {
  prompt: [0, 1, 2],
  written: [3, 4, 5],
  runs: [
    { policy: "full", chosen: [3, 4, 5], kl: [0, 0], bytes: [1000, 0, 0], held: [4, 4, 4, 4, 4] },
    { policy: "h2o", chosen: [3, 1, 5], kl: [1.5, 0.5], bytes: [100, 0, 0], held: [4, 0, 3, 2, 4] },
    {
      policy: "smallkv",
      chosen: [3, 4, 5],
      kl: [0, 1],
      bytes: [100, 50, 900],
      held: [4, 1, 3, 2, 4],
    },
  ].map(({ bytes: [device, small, host], held, ...run }) => ({
    ...run,
    bytes: { device: device!, small: small!, host: host! },
    movedBytes: 8,
    tiers: Uint8Array.of(...NOTHING_HELD, ...held),
  })),
};

const VIEWS: Readonly<Record<string, NamedView>> = {
  map: attentionView(MAP, { labels: LABELS, caption: "n = 1." }),
  part: attentionView(MAP, { labels: LABELS, range: [2, 5] }),
  saliency: saliencyView([{ label: "a", values: [1, 2, 3, 4, 5, 6] }], { ...NAMES, range: [1, 4] }),
  text: saliencyText(
    LAB,
    { tokens: [0, 1, 2, 3, 4], received: Float32Array.of(9, 1, 2, 3, 4) },
    NAMES,
  ),
  film: tierView(STEPS.map(({ tiers }) => tiers), NAMES),
  heads: headsView(HEADS),
  pair: headPairView(HEADS, { layer: 0, head: 1 }, "n = 1."),
  policies: policiesView(LAB, SIDE, { ...NAMES, place: { layer: 0, head: 1 } }),
  divergence: divergenceView(LAB, SIDE, NAMES),
};

/** Texts of an element's kind in a view. */
function texts(view: NamedView, pattern: RegExp): string[] {
  return [...view.page.matchAll(pattern)].map(([, text]) =>
    text!.replaceAll("&lt;", "<").replaceAll("&amp;", "&")
  );
}

const titles = (view: NamedView) => texts(view, /<title>([^<]*)<\/title>/g).slice(1);

Deno.test("views are whole pages without scripts, named in words", () => {
  for (const { page, text } of Object.values(VIEWS)) {
    assert(page.startsWith("<!DOCTYPE html><html") && page.endsWith("</html>"));
    assert(!page.includes("<script") && !page.includes("http"), "they ask for nothing");
    assertMatch(text, /^Figure: ./);
    assertMatch(page, /role="(img|group)"|class="text"/);
  }
  assertEquals(VIEWS["film"]!.text, "Figure: T. n = 1.");
});

Deno.test("attentionView() names queries and the keys that they look at, not the future", () => {
  assertEquals(titles(VIEWS["part"]!), [
    "query 2 t\n2 t: 0.333",
    "query 3 t\n2 t: 0.250\n3 t: 0.250",
    "query 4 t\n2 t: 0.200\n3 t: 0.200\n4 t: 0.200",
  ]);
  assertMatch(VIEWS["part"]!.page, /aria-label="Attention of layer 1, head 2 among tokens 2 to 4"/);
  assertThrows(() => attentionView(MAP, { labels: ["a"] }), RequirementError);
  const band = { ...MAP, queries: 2, values: MAP.values.subarray(4 * TOKENS) };
  assertThrows(() => attentionView(band, { labels: LABELS }), RequirementError);
});

Deno.test("saliencyView() names tokens of its range and their values", () => {
  assertEquals(titles(VIEWS["saliency"]!), ["1 t\na: 2.00", "2 t\na: 3.00", "3 t\na: 4.00"]);
});

Deno.test("saliencyText() tints by rank and keeps the text", () => {
  const { page } = VIEWS["text"]!;
  const spans = texts(VIEWS["text"]!, /data-token="\d"[^>]*>([^<]*)<\/span>/g);
  assertEquals(spans, ["▪", "a", " b", "\n", "<c"]);
  assertMatch(page, /title="0 \(marker\), received more than 100 % of the tokens"[^>]*#fde725/);
  assertMatch(page, /title="1 “a”, received more than 0 % of the tokens"[^>]*#440154/);
});

Deno.test("tierView() says what was held of every token at every step", () => {
  const rows = STEPS.map(({ tiers }) => [...tiers]);
  assertEquals(rows.map(({ length }) => length), [4, 5, 6]);
  const said = titles(VIEWS["film"]!);
  assertEquals(said.length, TOKENS);
  assertEquals(said.at(-1), "5 t: recent 3");
  const names = ["dropped", "host", "marginal", "critical", "recent"];
  const at = (step: number, token: number) => {
    const runs = said[token]!.replace(/^.*: /, "").split(", ").map((run) =>
      /(\w+) (\d)(?:–(\d))?/.exec(run)!
    );
    return runs.find(([, , first, last = first]) => +first! <= step && step <= +last!)![1]!;
  };
  rows.forEach((row, index) =>
    row.forEach((tier, token) => assertEquals(at(index + 1, token), names[tier]))
  );
  assertThrows(() => tierView([], NAMES), RequirementError);
  assertThrows(
    () => tierView(STEPS.map(({ tiers }) => tiers), { ...NAMES, labels: [] }),
    RequirementError,
  );
});

Deno.test("headsView() names every head, headPairView() compares one with the null models", () => {
  assertEquals(titles(VIEWS["heads"]!), [
    "Layer 0, head 0: jaccard 0.75",
    "Layer 0, head 1: jaccard 0.25",
  ]);
  assert(!VIEWS["heads"]!.page.includes('role="button"'), "nothing can be chosen");
  assertMatch(VIEWS["pair"]!.page, /Layer 0, head 1 follows small layer 0, head 0/);
  assertMatch(VIEWS["pair"]!.page, /matched small head<\/th><td>0\.250<\/td><td>0\.750/);
  assertEquals(
    titles(VIEWS["pair"]!)[0],
    "0 t\nlarge layer 0, head 1: 0.500\nsmall layer 0, head 0: 2.00",
  );
});

Deno.test("policiesView() marks other choices, and says divergence, bytes and tiers", () => {
  const { page } = VIEWS["policies"]!;
  const [, full, other, small] = page.split("<article");
  assertMatch(full!, /the reference/);
  assertMatch(other!, /departs at new token 2/);
  assertMatch(other!, /0\.500 nats/);
  assertMatch(other!, /title="4 “a”, recent, not what the full cache chooses"[^>]*>a</);
  assertMatch(other!, /title="1 “a”, dropped"/);
  assertMatch(small!, /same text so far.*50 B small model's cache, 900 B on the host/s);
  assertMatch(small!, /title="1 “a”, host"/);
  assertEquals(titles(VIEWS["divergence"]!), [
    "step 1, predicts 4 <c\nh2o: 1.50\nsmallkv: 0.00",
    "step 2, predicts 5 d\nh2o: 0.500\nsmallkv: 1.00",
  ]);
});

const chromium = await findChromium();

Deno.test({
  name: "views are accessible in light and dark, and draw figures that need no style sheet",
  ignore: chromium === undefined,
  sanitizeOps: false, // Playwright's connection ends after the test has
  sanitizeResources: false,
  async fn() {
    await using browser = await startChromium(chromium!);
    const page = await browser.newPage();
    for (const [name, view] of Object.entries(VIEWS)) {
      await page.setContent(view.page);
      for (const scheme of ["light", "dark"] as const) {
        assertEquals(await axeFaults(page, scheme), [], `${name}, ${scheme}`);
      }
      const { png, svgs } = await drawView(browser, view.page);
      assertEquals([...png.subarray(1, 4)], [0x50, 0x4e, 0x47]);
      assertEquals(svgs.length, ["text", "policies"].includes(name) ? 0 : 1, name);
      for (const svg of svgs) {
        assert(svg.startsWith("<svg") && !/class=|var\(|titles/.test(svg), name);
      }
    }
  },
});

Deno.test("sliderView() is a figure that Plotly's schema accepts", async () => {
  const validate = await plotlyValidator();
  // Arguments of sliders are free, which Plotly reports as a change.
  const faults = validate(sliderView(STEPS, NAMES).plot)
    .filter(({ astr, code }) => code !== "dynamic" || !/args/.test(astr));
  assertEquals(faults, []);
});

interface SliderLayout {
  readonly active: number;
  readonly steps: readonly {
    readonly label: string;
    readonly args: readonly Record<string, readonly unknown[][]>[];
  }[];
}

Deno.test("sliderView() starts at the step that misses most and has the bars of each", () => {
  const { layout, data } = sliderView(STEPS, NAMES).plot;
  const [slider] = layout["sliders"] as unknown as SliderLayout[];
  const missed = STEPS.map((step) => step.missed);
  assertEquals(slider!.active, missed.indexOf(Math.max(...missed)));
  assertEquals(slider!.steps.length, STEPS.length);
  assertEquals(data.map(({ name }) => name), ["dropped", "critical", "recent"]);
  for (const [index, step] of STEPS.entries()) {
    const { label, args: [change] } = slider!.steps[index]!;
    for (const key of ["x", "y", "text", "customdata"]) {
      assertEquals(change![key]!.length, data.length);
      const shown = data.map((trace) => trace[key]);
      if (index === slider!.active) assertEquals<unknown>(change![key], shown);
    }
    assert(change!["text"]!.slice(1).flat().every((text) => text === ""), "only what is missed");
    assert(label.endsWith(` (${Math.round(100 * step.missed)} %)`), label);
  }
});

Deno.test("tokenLabels() makes every label different and every token visible", () => {
  const texts = ["", " harp", "\n", " ", "a very long token text"];
  const labels = tokenLabels({ tokenTexts: () => texts }, [0, 1, 2, 3, 4]);
  assertEquals(labels, ["0 (special)", "1 harp", "2 ⏎", "3 ␣", "4 a␣very␣long␣t…"]);
  const parts = [null, "", "", "", "🦜 x", "", "a"];
  assertEquals(tokenLabels({ tokenTexts: () => parts }, parts.map((_, id) => id)), [
    ...["0 (special)", "1 (part of 🦜)", "2 (part of 🦜)", "3 (part of 🦜)"],
    ...["4 🦜␣x", "5 (special)", "6 a"],
  ]);
});
