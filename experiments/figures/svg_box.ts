/**
 * Places of SVG elements, which Plotly asks a page for, computed without one.
 *
 * @module
 */

import type { FontMetrics } from "./font_metrics.ts";

/** A rectangle in pixels; nothing has no sides. */
export interface Box {
  /** Left side. */
  readonly left: number;
  /** Upper side. */
  readonly top: number;
  /** Right side. */
  readonly right: number;
  /** Lower side. */
  readonly bottom: number;
}

/** The parts of an element that are read. */
export interface SvgElement {
  /** Name without a prefix. */
  readonly localName: string;
  /** All text in it. */
  readonly textContent: string | null;
  /** Elements in it. */
  readonly children: ArrayLike<SvgElement>;
  /** Element it is in. */
  readonly parentElement: SvgElement | null;
  /** Its own style; elements that are not drawn have none. */
  readonly style?: { readonly [property: string]: unknown };
  /** Reads an attribute. */
  getAttribute(name: string): string | null;
}

/** Matrix of a transformation as `matrix(a b c d e f)` has it. */
type Matrix = readonly [number, number, number, number, number, number];

const IDENTITY: Matrix = [1, 0, 0, 1, 0, 0];
/** Font size where an element and its parents name none. */
const USUAL_SIZE = 16;
const ANCHORS: Readonly<Record<string, number>> = { start: 0, middle: 0.5, end: 1 };

/**
 * Finds the box of an element with all that is in it, in the units of its drawing.
 *
 * Knows texts of one font, rectangles, paths of straight lines, images and groups; other elements take no
 * room.
 *
 * @param element The element.
 * @param font Metrics of the font of all texts.
 * @returns Its box; nothing if it takes no room.
 */
export function svgBox(element: SvgElement, font: FontMetrics): Box | undefined {
  return transformed(contentBox(element, font), matrixOf(element.getAttribute("transform")));
}

function contentBox(element: SvgElement, font: FontMetrics): Box | undefined {
  if (element.style?.["display"] === "none") return undefined;
  switch (element.localName) {
    case "text":
      return textBox(element, font);
    case "rect":
    case "image": {
      const [left, top] = [lengthOf(element, "x"), lengthOf(element, "y")];
      const right = left + lengthOf(element, "width");
      return { left, top, right, bottom: top + lengthOf(element, "height") };
    }
    case "path":
      return boxOf(pathPoints(element.getAttribute("d") ?? ""));
    case "g":
    case "svg":
      return joined(Array.from(element.children, (child) => svgBox(child, font)));
    default:
      return undefined;
  }
}

function lengthOf(element: SvgElement, name: string): number {
  return Number.parseFloat(element.getAttribute(name) ?? "0") || 0;
}

/** A text is one line, or one per direct `tspan` with the class `line`. */
function textBox(text: SvgElement, font: FontMetrics): Box | undefined {
  const lines = Array.from(text.children).filter((child) =>
    (child.getAttribute("class") ?? "").split(" ").includes("line")
  );
  const size = fontSize(text);
  return joined(
    lines.length === 0 ? [lineBox(text, text)] : lines.map((line) => lineBox(line, text)),
  );

  function lineBox(line: SvgElement, parent: SvgElement): Box | undefined {
    const content = line.textContent ?? "";
    if (content === "") return undefined;
    const place = (name: string) =>
      lengthOf(line.getAttribute(name) === null ? parent : line, name);
    const width = font.width(content) * size;
    const shift = Number.parseFloat(line.getAttribute("dy") ?? "0") * size;
    const left = place("x") - width * (ANCHORS[anchorOf(parent)] ?? 0);
    const baseline = place("y") + shift;
    const top = baseline - Math.round(font.ascent * size);
    const bottom = baseline + Math.round(font.descent * size);
    return { left, top, right: left + width, bottom };
  }
}

function anchorOf(text: SvgElement): string {
  return text.getAttribute("text-anchor") || `${text.style?.["textAnchor"] || "start"}`;
}

function fontSize(element: SvgElement | null): number {
  for (let current = element; current !== null; current = current.parentElement) {
    const size = Number.parseFloat(`${current.style?.["fontSize"]}`);
    if (size > 0) return size;
  }
  return USUAL_SIZE;
}

/** Points of a path; curves count by their ends. */
function pathPoints(path: string): [number, number][] {
  const points: [number, number][] = [];
  let [x, y] = [0, 0];
  for (const [, command, list] of path.matchAll(/([A-Za-z])([^A-Za-z]*)/g)) {
    const values = (list!.match(/-?[\d.]+(?:e-?\d+)?/g) ?? []).map(Number);
    const kind = command!.toUpperCase();
    const isRelative = kind !== command;
    const perPoint = { H: 1, V: 1, A: 7, C: 6, S: 4, Q: 4 }[kind] ?? 2;
    for (let end = perPoint; end <= values.length; end += perPoint) {
      const last = values[end - 1]!;
      const before = values[end - 2] ?? 0;
      const [toX, toY] = kind === "H"
        ? [last, undefined]
        : kind === "V"
        ? [undefined, last]
        : [before, last];
      x = toX === undefined ? x : isRelative ? x + toX : toX;
      y = toY === undefined ? y : isRelative ? y + toY : toY;
      points.push([x, y]);
    }
  }
  return points;
}

function matrixOf(transform: string | null): Matrix {
  let matrix = IDENTITY;
  for (const [, name, list] of (transform ?? "").matchAll(/(\w+)\(([^)]*)\)/g)) {
    const values = (list!.match(/-?[\d.]+(?:e-?\d+)?/g) ?? []).map(Number);
    for (const step of stepsOf(name!, values)) matrix = product(matrix, step);
  }
  return matrix;
}

function stepsOf(name: string, [a = 0, b, c = 0]: readonly number[]): Matrix[] {
  if (name === "translate") return [[1, 0, 0, 1, a, b ?? 0]];
  if (name === "scale") return [[a, 0, 0, b ?? a, 0, 0]];
  if (name !== "rotate") throw new TypeError(`Cannot place an element: "${name}" is not known`);
  const [cos, sin] = [Math.cos(a * Math.PI / 180), Math.sin(a * Math.PI / 180)];
  const [x, y] = [b ?? 0, c];
  return [[1, 0, 0, 1, x, y], [cos, sin, -sin, cos, 0, 0], [1, 0, 0, 1, -x, -y]];
}

function product([a, b, c, d, e, f]: Matrix, [A, B, C, D, E, F]: Matrix): Matrix {
  return [
    a * A + c * B,
    b * A + d * B,
    a * C + c * D,
    b * C + d * D,
    a * E + c * F + e,
    b * E + d * F + f,
  ];
}

function transformed(box: Box | undefined, [a, b, c, d, e, f]: Matrix): Box | undefined {
  if (box === undefined) return undefined;
  const corners = [box.left, box.right].flatMap((x) =>
    [box.top, box.bottom].map((y) => [x, y] as const)
  );
  return boxOf(corners.map(([x, y]) => [a * x + c * y + e, b * x + d * y + f]));
}

function boxOf(points: readonly (readonly [number, number])[]): Box | undefined {
  if (points.length === 0) return undefined;
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
  return {
    left: Math.min(...xs),
    top: Math.min(...ys),
    right: Math.max(...xs),
    bottom: Math.max(...ys),
  };
}

function joined(boxes: readonly (Box | undefined)[]): Box | undefined {
  return boxOf(
    boxes.flatMap((box) =>
      box === undefined ? [] : [[box.left, box.top] as const, [box.right, box.bottom] as const]
    ),
  );
}
