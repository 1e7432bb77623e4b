/**
 * A file of answers, one JSON line each: lines are only ever added, so that what is finished survives any end.
 *
 * @module
 */

import { type FileHandle, open, truncate } from "node:fs/promises";
import { createAtomicFile, ensureFolder } from "../core/atomic_file.ts";
import { DataError } from "../core/check.ts";
import { fileError } from "../core/file_error.ts";
import { dirname } from "node:path";
import { type Row, ROW_SCHEMA } from "./answer_row.ts";

/** What a file holds. */
export interface StoredRows {
  /** Its lines in order. */
  readonly rows: readonly Row[];
  /** Bytes of whole lines. */
  readonly bytes: number;
  /** Bytes after the last whole line, which a process left that ended while it wrote. */
  readonly tornBytes: number;
}

const LINE_END = 0x0a;

/**
 * Reads a file of answers.
 *
 * @returns Its lines; none if there is no file.
 * @throws {DataError} If it cannot be read, or a line but the last is not a whole row of this version.
 */
export async function readRows(path: string): Promise<StoredRows> {
  const rows: Row[] = [];
  let bytes = 0;
  let rest = new Uint8Array();
  try {
    await using file = await open(path, "r");
    for await (const piece of file.createReadStream()) {
      const chunk = piece as Uint8Array;
      let start = 0;
      for (let end; (end = chunk.indexOf(LINE_END, start)) >= 0; start = end + 1) {
        const line = joined(rest, chunk.subarray(start, end));
        rows.push(parseRow(line, `${path}, line ${rows.length + 1}`));
        bytes += line.length + 1;
        rest = new Uint8Array();
      }
      rest = joined(rest, chunk.subarray(start));
    }
  } catch (cause) {
    if (cause instanceof DataError) throw cause;
    if ((cause as { code?: string }).code !== "ENOENT") throw fileError("read", path, cause);
  }
  return { rows, bytes, tornBytes: rest.length };
}

function joined(first: Uint8Array, second: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}

function parseRow(bytes: Uint8Array, place: string): Row {
  let row: Partial<Row> | null;
  try {
    row = JSON.parse(new TextDecoder().decode(bytes));
  } catch (cause) {
    throw unusable(place, "it must be JSON", (cause as Error).message, cause);
  }
  if (row?.schema !== ROW_SCHEMA) {
    throw unusable(place, `its schema must be ${ROW_SCHEMA}`, String(row?.schema ?? "none"));
  }
  const isWhole =
    [row.id, row.task, row.item, row.prompt].every((text) => typeof text === "string") &&
    ("skipped" in row || "answers" in row && "grade" in row && "models" in row);
  if (!isWhole) throw unusable(place, "it must be an answer", "a row that lacks fields");
  return row as Row;
}

function unusable(place: string, requirement: string, current: string, cause?: unknown) {
  return new DataError(`Cannot use ${place}: ${requirement}: current value is ${current}`, {
    cause,
  });
}

/** Text of a line, with its end. */
export function rowLine(row: Row): string {
  return `${JSON.stringify(row)}\n`;
}

/** A file of answers that is open for more; disposing closes it. */
export interface RowWriter extends AsyncDisposable {
  /** Adds lines, which are on disk afterwards. */
  append(rows: readonly Row[]): Promise<void>;
}

/**
 * Opens a file of answers for more, without what follows its last whole line.
 *
 * @param bytes Bytes of its whole lines; those after are cut off.
 * @throws {DataError} If it cannot be written.
 */
export async function openRows(path: string, bytes: number): Promise<RowWriter> {
  await ensureFolder(dirname(path));
  const guarded = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (cause) {
      throw fileError("write", path, cause);
    }
  };
  const file: FileHandle = await guarded(() => open(path, "a"));
  await guarded(() => truncate(path, bytes));
  return {
    append: (rows) =>
      guarded(async () => {
        const content = new TextEncoder().encode(rows.map(rowLine).join(""));
        for (let done = 0; done < content.length;) {
          done += (await file.write(content, done, content.length - done)).bytesWritten;
        }
        await file.sync();
      }),
    [Symbol.asyncDispose]: () => file.close(),
  };
}

/**
 * Replaces a file of answers as a whole.
 *
 * @throws {DataError} If it cannot be written; the old file is then untouched.
 */
export async function writeRows(path: string, rows: readonly Row[]): Promise<void> {
  await using file = await createAtomicFile(path);
  for (const row of rows) await file.write(new TextEncoder().encode(rowLine(row)));
  await file.commit();
}
