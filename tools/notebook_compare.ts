/**
 * Prepares the outputs of a notebook for storing, and compares two runs of it.
 *
 * @module
 */

import {
  type CellOutput,
  codeCells,
  type Notebook,
  type NotebookText,
  textLines,
  wholeText,
} from "./notebook_file.ts";
import { isSameNumber, isSameText, machineNames, stripText } from "./notebook_text.ts";

/** A difference between two runs. */
export interface NotebookDifference {
  /** Place of the cell among all cells. */
  readonly cell: number;
  /** What differs, for people. */
  readonly text: string;
}

/** How two runs are compared. */
export interface CompareOptions {
  /** Whether the new run could draw pictures; if not, stored ones are ignored. */
  readonly hasPictures: boolean;
}

/** Metadata by which an output says that its numbers are measured times or sizes of this machine. */
export const VOLATILE = "smallkv_volatile";

/** Pages and pictures inside of HTML: they hold no times, and what looks like one is part of a text or of base 64. */
const INNER_PARTS = /(srcdoc="[^"]*"|src="data:image\/png;base64,[^"]*")/;

/** Strips all outputs of times and machine names, in place. */
export function stripNotebook(notebook: Notebook, root: string): void {
  const names = machineNames(root);
  const strip = (text: NotebookText) =>
    textLines(
      wholeText(text).split(INNER_PARTS).map((part) =>
        part.match(INNER_PARTS) ? part : stripText(part, names)
      ).join(""),
    );
  for (const { cell } of codeCells(notebook)) {
    for (const output of cell.outputs) {
      if (output.output_type === "stream") output.text = strip(output.text);
      if (!("data" in output)) continue;
      for (const [type, value] of Object.entries(output.data)) {
        const isMeasured = output.metadata[VOLATILE] === true;
        if (type.startsWith("text/") && !isMeasured) output.data[type] = strip(value as string);
      }
    }
  }
}

/**
 * Compares the outputs of two runs of the same cells.
 *
 * @param current What a new run gave, stripped like the stored one.
 * @returns Differences; none if all that differs is noise.
 */
export function compareNotebooks(
  stored: Notebook,
  current: Notebook,
  options: CompareOptions,
): NotebookDifference[] {
  const after = codeCells(current);
  return codeCells(stored).flatMap(({ index, cell }, place) => {
    const other = after[place]?.cell;
    const text = other === undefined
      ? "the cell was not run"
      : differenceOf(cell.outputs, other.outputs, options);
    return text === undefined ? [] : [{ cell: index, text }];
  });
}

function differenceOf(
  stored: readonly CellOutput[],
  current: readonly CellOutput[],
  options: CompareOptions,
): string | undefined {
  if (stored.length !== current.length) {
    return `${stored.length} outputs are stored, the run gave ${current.length}`;
  }
  for (const [index, output] of stored.entries()) {
    const fault = outputDifference(output, current[index]!, options);
    if (fault !== undefined) return `output ${index}: ${fault}`;
  }
  return undefined;
}

function outputDifference(
  a: CellOutput,
  b: CellOutput,
  options: CompareOptions,
): string | undefined {
  if (a.output_type !== b.output_type) return `${a.output_type} became ${b.output_type}`;
  if (a.output_type === "stream" && b.output_type === "stream") {
    return textDifference(wholeText(a.text), wholeText(b.text));
  }
  if (a.output_type === "error" && b.output_type === "error") {
    return a.ename === b.ename ? textDifference(a.evalue, b.evalue) : `${a.ename}, now ${b.ename}`;
  }
  return "data" in a && "data" in b ? bundleDifference(a, b, options) : undefined;
}

type DisplayOutput = Extract<CellOutput, { data: unknown }>;

function bundleDifference(
  a: DisplayOutput,
  b: DisplayOutput,
  { hasPictures }: CompareOptions,
): string | undefined {
  const types = new Set([...Object.keys(a.data), ...Object.keys(b.data)]);
  const isVolatile = a.metadata[VOLATILE] === true;
  for (const type of types) {
    const [before, after] = [a.data[type], b.data[type]];
    const isPicture = type.startsWith("image/");
    if (isPicture && !hasPictures) continue;
    if (before === undefined) return `${type} is new`;
    if (after === undefined) return `${type} is missing`;
    if (isPicture) {
      if (pictureSize(before) !== pictureSize(after)) return `${type} has another size`;
    } else if (type.startsWith("text/")) {
      const words = (text: unknown) => viewWords(wholeText(text as NotebookText));
      const shape = (text: unknown) => isVolatile ? withoutNumbers(words(text)) : words(text);
      const fault = textDifference(shape(before), shape(after));
      if (fault !== undefined) return `${type}: ${fault}`;
    } else if (!isVolatile) {
      const path = jsonDifference(before, after, "");
      if (path !== undefined) return `${type} differs at ${path}`;
    }
  }
  return undefined;
}

/**
 * Of HTML that frames a view, its elements and words: what its curves show is also in words, its style sheet shows nothing,
 * and the picture's height depends on fonts.
 */
function viewWords(html: string): string {
  const [, page] = /srcdoc="([^"]*)"/.exec(html) ?? [];
  return page?.replace(/&lt;style.*?&lt;\/style&gt;| d=&quot;.*?&quot;/gs, "") ?? html;
}

function withoutNumbers(text: string): string {
  return text.replace(/\d[\d.,]*/g, "#").replace(/\s+/g, " ");
}

function textDifference(a: string, b: string): string | undefined {
  if (isSameText(a, b)) return undefined;
  const [before, after] = [a.split("\n"), b.split("\n")];
  const line = before.findIndex((text, index) => !isSameText(text, after[index] ?? ""));
  if (line < 0) return `${before.length} lines are stored, the run gave ${after.length}`;
  return `"${before[line]}" became "${after[line] ?? ""}"`;
}

/** Path of the first difference of two JSON values. */
function jsonDifference(a: unknown, b: unknown, path: string): string | undefined {
  if (typeof a === "number" && typeof b === "number") {
    return isSameNumber(a, b) ? undefined : `${path}: ${a} became ${b}`;
  }
  if (typeof a === "string" && typeof b === "string") {
    return isSameText(a, b) ? undefined : `${path}: "${a}" became "${b}"`;
  }
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) {
    return a === b ? undefined : `${path}: ${a} became ${b}`;
  }
  for (const key of new Set([...Object.keys(a), ...Object.keys(b)])) {
    const values = [a, b].map((value) => (value as Record<string, unknown>)[key]);
    const found = jsonDifference(values[0], values[1], `${path}/${key}`);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Width and height of a PNG in base 64, from its header. */
function pictureSize(picture: unknown): string {
  const start = String(picture).slice(0, 44).replaceAll("\n", "");
  const header = new DataView(Uint8Array.fromBase64(start.slice(0, 40)).buffer);
  return `${header.getUint32(16)} x ${header.getUint32(20)}`;
}
