/**
 * Comma-separated values with quotes, as in RFC 4180.
 *
 * @module
 */

/**
 * Parses a file of comma-separated values.
 *
 * Quoted fields may hold commas, line breaks and doubled quotes. A quote inside an unquoted field
 * stands for itself, and a field whose quote is never closed ends with the text.
 *
 * @returns Rows of fields; blank lines are skipped.
 */
export function parseCsv(text: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  // Each match is one field with what ends it.
  const field = /(?:"((?:[^"]|"")*)(?:"|$)([^,\r\n]*)|([^,\r\n]*))(,|\r\n|\n|\r|$)/y;
  while (field.lastIndex < text.length) {
    const start = field.lastIndex;
    const [, quoted, rest = "", plain = "", end] = field.exec(text)!;
    row.push(quoted === undefined ? plain : quoted.replaceAll('""', '"') + rest);
    if (end === ",") {
      if (field.lastIndex === text.length) row.push("");
      else continue;
    }
    if (row.length > 1 || row[0] !== "") rows.push(row);
    row = [];
    if (field.lastIndex === start) break;
  }
  return rows;
}
