/**
 * Finds numbers of documents in stored results and compares the two.
 *
 * A number is right if the stored one, rounded to as many digits, reads the same.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { dirname } from "node:path";
import { readRecord, type ResultRecord } from "../../experiments/runner/record.ts";

/** Folder of the project. */
export const ROOT = new URL("../../", import.meta.url).pathname;

/** Finds numbers in a result: one, or one with the ends of its interval. */
export interface Source {
  readonly path: string;
  find(record: ResultRecord): readonly (number | null)[];
}

/** The number of a claim. */
export function claim(path: string, key: string): Source {
  return {
    path,
    find({ claims }) {
      const ours = claims.find((claim) => claim.key === key)?.ours;
      assert(ours !== undefined, `${path} has no ${key}`);
      return [ours.value, ours.low, ours.high];
    },
  };
}

/** A cell of the row that begins with some cells, in any order, and its interval if the next columns hold one. */
export function cell(
  path: string,
  table: string,
  keys: readonly (string | number)[],
  column: string,
) {
  return {
    path,
    find(record: ResultRecord) {
      const { columns, rows } = record.tables.find(({ name }) => name === table)!;
      const found = rows.filter((row) => keys.every((key) => row.slice(0, 3).includes(key)));
      assertEquals(found.length, 1, `${path} ${table}: ${keys}`);
      const at = columns.indexOf(column);
      const count = columns[at + 1] === "low" ? 3 : 1;
      assert(at >= 0, `${path} ${table} has no ${column}`);
      return found[0]!.slice(at, at + count) as (number | null)[];
    },
  };
}

/** Changes a number: another sign or unit. */
export function changed(source: Source, change: (value: number) => number): Source {
  return {
    path: source.path,
    find(record) {
      const [value, ...ends] = source.find(record).map((value) => change(value!));
      return [value!, ...ends.sort((a, b) => a - b)];
    },
  };
}

export const negated = (source: Source) => changed(source, (value) => -value);

const records = new Map<string, ResultRecord>();
export async function recordOf(path: string): Promise<ResultRecord> {
  const known = records.get(path);
  if (known !== undefined) return known;
  const record = await readRecord(ROOT + dirname(path), path.split("/").at(-1)!);
  assert(record !== undefined, `${path}.json must exist`);
  records.set(path, record);
  return record;
}

export function read(document: string): string {
  return Deno.readTextFileSync(ROOT + document);
}

/** Text of a document in one line, without the marks of emphasis. */
export function line(document: string): string {
  return read(document).replaceAll(/\*\*|(?<!\w)_|_(?!\w)/g, "").replaceAll(/\s+/g, " ");
}

/** Writes a number with the digits of another. */
function as(shown: string, value: number | null): string {
  const digits = shown.split(".")[1]?.length ?? 0;
  return (value ?? NaN).toFixed(digits).replace(/^-(0\.?0*)$/, "$1");
}

/** A number, and one with its interval. */
const NUMBER = String.raw`(-?\d+(?:\.\d+)?)`;
export const INTERVAL = String.raw`${NUMBER}(?: %| nats)? \[${NUMBER}, ${NUMBER}\]`;

/** Words with `#` for a number and `#[]` for one with its interval, and where these come from. */
export type Words = readonly [text: string, ...sources: readonly Source[]];

function pattern(text: string): RegExp {
  const parts = text.split(/(#\[\]|#)/).map((part) =>
    part === "#" ? NUMBER : part === "#[]" ? INTERVAL : RegExp.escape(part)
  );
  return new RegExp(parts.join(""), "g");
}

/** What a document says beside what it should. */
export async function compareWords(document: string, [text, ...sources]: Words): Promise<string> {
  const found = [...line(document).matchAll(pattern(text))];
  assertEquals(found.length, 1, `${document} must have once: ${text}`);
  const [whole, ...shown] = found[0]!;
  const wanted: (number | null)[] = [];
  const kinds = text.match(/#(\[\])?/g)!;
  for (const [index, source] of sources.entries()) {
    const values = source.find(await recordOf(source.path));
    wanted.push(...kinds[index] === "#" ? values.slice(0, 1) : values);
  }
  assertEquals(shown.length, wanted.length, text);
  assertEquals(shown, shown.map((number, index) => as(number, wanted[index]!)), whole);
  return whole;
}

/** A table: its first heading, and where the number below a heading in a row comes from. */
export interface Table {
  readonly document: string;
  readonly heading: string;
  source(row: string, column: string): Source;
}

export function tableRows(
  { document, heading }: Pick<Table, "document" | "heading">,
): string[][] {
  const lines = read(document).split("\n");
  const cells = (line: string) => line.split("|").slice(1, -1).map((cell) => cell.trim());
  const tables = lines.filter((line) => line.startsWith("|") && cells(line)[0] === heading);
  assertEquals(tables.length, 1, `${document}: ${heading}`);
  const first = lines.indexOf(tables[0]!);
  const end = lines.findIndex((line, index) => index > first && !line.startsWith("|"));
  return lines.slice(first, end).map(cells);
}

export async function compareTable(table: Table): Promise<number> {
  const [headings, , ...rows] = tableRows(table);
  let count = 0;
  for (const [name, ...cells] of rows) {
    for (const [index, text] of cells.entries()) {
      const { path, find } = table.source(name!, headings![index + 1]!);
      const values = find(await recordOf(path));
      const where = `${table.document}: ${name}, ${headings![index + 1]}`;
      if (text === "–") {
        assertEquals(values[0], 0, where);
        continue;
      }
      const shown = text.match(new RegExp(NUMBER, "g")) ?? [];
      // Words stand where the results have no number, and nowhere else.
      assertEquals(shown.length > 0, values.length > 0, where);
      assertEquals(shown, shown.map((number, place) => as(number, values[place]!)), where);
      count += shown.length;
    }
  }
  return count;
}

/** Whatever else a document computes from one result. */
export function computed(path: string, find: Source["find"]): Source {
  return { path, find };
}
