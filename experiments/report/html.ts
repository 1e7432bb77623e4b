/**
 * Text and data inside HTML.
 *
 * @module
 */

/** Length from which the text of a cell may take several lines, in characters. */
const LONG_TEXT = 48;

/** Makes a text safe between tags and in quoted attributes; a % stays on the line of its number. */
export function escapeHtml(text: string): string {
  return text.replaceAll(/(\d) %/g, "$1\u00a0%").replaceAll("&", "&amp;").replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}

/**
 * Makes JSON safe inside a script element.
 *
 * @param json JSON text.
 */
export function escapeJson(json: string): string {
  return json.replaceAll("<", "\\u003c").replaceAll("\u2028", "\\u2028")
    .replaceAll("\u2029", "\\u2029");
}

/**
 * Makes a script safe inside a script element, where a closing tag within a string would end it.
 *
 * @param source JavaScript.
 */
export function escapeScript(source: string): string {
  return source.replaceAll(/<(\/script|!--)/gi, "\\x3c$1");
}

/**
 * A table cell.
 *
 * @param value Text or number; null shows as a dash.
 * @param format Words for a number.
 */
export function cell(value: string | number | null, format: (value: number) => string): string {
  if (value === null) return "<td>–</td>";
  if (typeof value === "string") {
    const name = value.length > LONG_TEXT ? ' class="long"' : "";
    return `<td${name}>${escapeHtml(value)}</td>`;
  }
  return `<td class="number">${escapeHtml(format(value))}</td>`;
}
