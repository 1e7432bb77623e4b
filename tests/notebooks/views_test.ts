import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import type { AttentionMap } from "../../analysis/attention_map.ts";
import { h2o } from "../../cache/policies/h2o.ts";
import { RequirementError } from "../../core/check.ts";
import { dropTimeline } from "../../notebooks/drop_timeline.ts";
import type { NamedPlot } from "../../notebooks/show.ts";
import { attentionView, saliencyView } from "../../notebooks/views/attention_view.ts";
import { tokenLabels } from "../../notebooks/views/labels.ts";
import { sliderView } from "../../notebooks/views/slider_view.ts";
import { tierView } from "../../notebooks/views/tier_view.ts";
import { TIER, tiersOf } from "../../notebooks/views/tiers.ts";
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
const VIEWS: readonly NamedPlot[] = [
  attentionView(MAP, { labels: LABELS, caption: "n = 1." }),
  attentionView(MAP, { labels: LABELS, range: [2, 5] }),
  saliencyView([{ label: "a", values: [1, 2, 3, 4, 5, 6] }], NAMES),
  tierView(STEPS.map(({ tiers, position }) => ({ tiers, label: LABELS[position]! })), NAMES),
  sliderView(STEPS, NAMES),
];

Deno.test("views are figures that Plotly's schema accepts, with axis titles", async () => {
  const validate = await plotlyValidator();
  for (const { text, plot } of VIEWS) {
    // Arguments of sliders are free, which Plotly reports as a change.
    const faults = validate(plot)
      .filter(({ astr, code }) => code !== "dynamic" || !/args/.test(astr));
    assertEquals(faults, [], text);
    for (const name of ["xaxis", "yaxis"]) {
      const axis = plot.layout[name] as unknown as { title: { text: string } };
      assert(axis.title.text.length > 0);
    }
  }
});

Deno.test("attentionView() leaves the future empty and names tokens", () => {
  const [trace] = VIEWS[1]!.plot.data;
  assertEquals(trace!["x"], ["2 t", "3 t", "4 t"]);
  const z = trace!["z"] as (number | null)[][];
  assertEquals(z[0]!.slice(1), [null, null]);
  assertEquals(z[1]![0], 0.25);
  assertMatch(String(trace!["hovertemplate"]), /query %\{y\}/);
  assertThrows(() => attentionView(MAP, { labels: ["a"] }), RequirementError);
});

Deno.test("tierView() says in words what it colors", () => {
  const [trace] = VIEWS[3]!.plot.data;
  const texts = trace!["text"] as string[][];
  assertEquals(texts.length, STEPS.length);
  assertMatch(texts[0]!.join(), /dropped.*newest/);
  assertMatch(texts[0]!.at(-1)!, /later/);
});

interface SliderLayout {
  readonly active: number;
  readonly steps: readonly {
    readonly label: string;
    readonly args: readonly Record<string, readonly unknown[][]>[];
  }[];
}

Deno.test("sliderView() starts at the step that misses most and has the bars of each", () => {
  const { layout, data } = VIEWS[4]!.plot;
  const [slider] = layout["sliders"] as unknown as SliderLayout[];
  const missed = STEPS.map((step) => step.missed);
  assertEquals(slider!.active, missed.indexOf(Math.max(...missed)));
  assertEquals(slider!.steps.length, STEPS.length);
  assertEquals(data.length, 4);
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

Deno.test("tiersOf() numbers kept, newest, marginal, dropped and later tokens", () => {
  const selection = { full: Uint32Array.of(0, 4), valueOnly: Uint32Array.of(2) };
  const tiers = tiersOf(selection, { tokens: 5, recent: 1, length: 6 });
  const { full, dropped, valueOnly, newest, later } = TIER;
  assertEquals([...tiers], [full, dropped, valueOnly, dropped, newest, later]);
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
