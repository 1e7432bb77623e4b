/**
 * WikiText-2, raw: encyclopedia paragraphs, one per line.
 *
 * @see {@link https://arxiv.org/abs/1609.07843 | Pointer Sentinel Mixture Models}
 * @module
 */

import { type Dataset, readDataFile } from "./dataset.ts";

/** Splits that are used; training text is not needed. */
export type WikitextSplit = "test" | "valid";

/** Turns text into token ids; data modules know no tokenizer. */
export type Encode = (text: string) => readonly number[];

/** A line of the corpus. */
export interface WikitextLine {
  /** Number of the line in its file, from 0. */
  readonly line: number;
  /** The paragraph, without the spaces around it. */
  readonly text: string;
}

/** A heading of any depth: " = Title =", " = = Part = =". */
const HEADING = /^ = .* =$/;

/**
 * Lists the paragraphs of a split.
 *
 * @returns Lines that are neither blank nor headings, in file order.
 */
export function wikitextParagraphs(content: string): WikitextLine[] {
  const found: WikitextLine[] = [];
  content.split("\n").forEach((raw, line) => {
    const text = raw.trim();
    if (text !== "" && !HEADING.test(raw.trimEnd())) found.push({ line, text });
  });
  return found;
}

/**
 * Reads a split.
 *
 * @param split Which one (default `test`).
 * @throws {DataError} If the file is missing or damaged.
 */
export async function readWikitext(folder: string, split: WikitextSplit = "test"): Promise<string> {
  return await readDataFile(folder, `wikitext2/wiki.${split}.raw`);
}

/** Paragraphs of the test split in file order. */
export const wikitext2: Dataset = {
  name: "wikitext2",
  files: ["wikitext2/wiki.test.raw"],
  async texts(folder, limit) {
    const content = await readWikitext(folder);
    return wikitextParagraphs(content).slice(0, limit).map(({ line, text }) => ({
      id: `line-${line}`,
      group: "wikitext2",
      text,
    }));
  },
};
