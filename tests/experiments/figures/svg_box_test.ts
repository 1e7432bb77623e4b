import assert from "node:assert/strict";
import type { FontMetrics } from "../../../experiments/figures/font_metrics.ts";
import { type Box, svgBox, type SvgElement } from "../../../experiments/figures/svg_box.ts";

/** Every letter is half as wide as the font is high. */
const FONT: FontMetrics = { ascent: 0.9, descent: 0.2, width: (text) => text.length / 2 };

/** An element with attributes; `style` is the font size. */
function element(
  localName: string,
  { size, text = "", children = [], ...attributes }: {
    size?: number;
    text?: string;
    children?: SvgElement[];
    [name: string]: unknown;
  } = {},
): SvgElement {
  const own: { parentElement: SvgElement | null } & Omit<SvgElement, "parentElement"> = {
    localName,
    textContent: text,
    children,
    parentElement: null,
    style: size === undefined ? {} : { fontSize: `${size}px` },
    getAttribute: (name) => name in attributes ? String(attributes[name]) : null,
  };
  for (const child of children) (child as typeof own).parentElement = own;
  return own;
}

function assertBox(actual: Box | undefined, [left, top, right, bottom]: number[]): void {
  assert.ok(actual !== undefined);
  const expected = { left, top, right, bottom };
  for (const [side, value] of Object.entries(expected)) {
    assert.ok(Math.abs(actual[side as keyof Box] - value!) < 1e-9, JSON.stringify(actual));
  }
}

Deno.test("svgBox() places a text by its anchor, its baseline and its font", () => {
  const text = { size: 10, text: "four", x: 100, y: 50 };
  assertBox(svgBox(element("text", text), FONT), [100, 41, 120, 52]);
  assertBox(svgBox(element("text", { ...text, "text-anchor": "middle" }), FONT), [90, 41, 110, 52]);
  assertBox(svgBox(element("text", { ...text, "text-anchor": "end" }), FONT), [80, 41, 100, 52]);
  assert.equal(svgBox(element("text", { size: 10 }), FONT), undefined);
});

Deno.test("svgBox() joins the lines of a text", () => {
  const line = (text: string, dy: string) => element("tspan", { text, dy, class: "line", x: 0 });
  const text = element("text", { size: 10, children: [line("ab", "0em"), line("abcd", "1.3em")] });
  assertBox(svgBox(text, FONT), [0, -9, 20, 15]);
});

Deno.test("svgBox() turns, shifts and scales", () => {
  const text = { size: 10, text: "four", transform: "translate(10,20) rotate(-90)" };
  assertBox(svgBox(element("text", text), FONT), [1, 0, 12, 20]);
  const rect = { x: 1, y: 2, width: 3, height: 4, transform: "scale(2)" };
  assertBox(svgBox(element("rect", rect), FONT), [2, 4, 8, 12]);
  const about = { x: 0, y: 0, width: 2, height: 1, transform: "rotate(90,1,1)" };
  assertBox(svgBox(element("rect", about), FONT), [1, 0, 2, 2]);
  const skewed = element("rect", { width: 1, height: 1, transform: "skewX(3)" });
  assert.throws(() => svgBox(skewed, FONT), /"skewX"/);
});

Deno.test("svgBox() joins what a group holds and follows paths of lines", () => {
  const children = [
    element("path", { d: "M5,6h-5v2L3,4" }),
    element("rect", { x: 10, y: 0, width: 1, height: 1 }),
    element("defs"),
  ];
  assertBox(svgBox(element("g", { children, transform: "translate(1,1)" }), FONT), [1, 1, 12, 9]);
  assert.equal(svgBox(element("g"), FONT), undefined);
});
