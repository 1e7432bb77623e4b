import { assertEquals } from "@std/assert";
import { TIER_NAMES } from "../../cache/token_tier.ts";
import { seriesStyle } from "../../experiments/figures/palette.ts";
import { attentionLevel, lineStyle, similarityColor, TIER_COLORS } from "../../views/palette.ts";

const sheet = await Deno.readTextFile(new URL("../../views/views.css", import.meta.url));

/** Values of a variable of the style sheet: on light pages, then on dark ones where they differ. */
function variable(name: string): string[] {
  return [...sheet.matchAll(new RegExp(`--${name}: (#\\w+);`, "g"))].map(([, color]) => color!);
}

/** Relative luminance, as WCAG defines it. */
function luminance(color: string): number {
  const [red, green, blue] = [1, 3, 5].map((start) => {
    const value = parseInt(color.slice(start, start + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red! + 0.7152 * green! + 0.0722 * blue!;
}

Deno.test("charts without the style sheet have its colors of tiers", () => {
  for (const tier of TIER_NAMES) assertEquals(variable(`tier-${tier}`)[0], TIER_COLORS[tier]);
});

Deno.test("lines have the colors of the experiments' figures", () => {
  for (const place of [0, 1, 2, 3]) {
    assertEquals(lineStyle(place).color, `var(--line-${place})`);
    assertEquals(variable(`line-${place}`)[0], seriesStyle(place).color);
  }
  assertEquals(new Set([0, 1, 2, 3].map((place) => lineStyle(place).dash)).size, 4);
});

Deno.test("texts of tiers can be read on their colors, in light and dark", () => {
  for (const tier of TIER_NAMES) {
    const papers = variable(`tier-${tier}`);
    const inks = variable(`tier-${tier}-ink`);
    for (const dark of [0, 1]) {
      const [high, low] = [papers[dark] ?? papers[0]!, inks[dark] ?? inks[0]!].map(luminance)
        .sort((a, b) => b - a);
      assertEquals((high! + 0.05) / (low! + 0.05) >= 4.5, true, `${tier}, dark ${dark}`);
    }
  }
});

Deno.test("similarityColor() keeps its text readable", () => {
  assertEquals(similarityColor(0), { fill: "#440154", ink: "#ffffff" });
  assertEquals(similarityColor(1).ink, "#000000");
  assertEquals(similarityColor(0.4), { fill: "#26828e", ink: "#000000" });
});

Deno.test("attentionLevel() tells little from none", () => {
  assertEquals([-1, 0, 0.01, 0.25, 1, 2].map(attentionLevel), [0, 0, 0.1, 0.5, 1, 1]);
});
