/**
 * The filter `tojson` of chat templates: Python's `json.dumps()`.
 *
 * @module
 */

import { type Arguments, integer, string } from "./jinja_methods.ts";
import { join } from "./jinja_operators.ts";
import {
  type Budget,
  compare,
  DictView,
  floatText,
  isDictionary,
  isList,
  isTrue,
  itemsOf,
  Range,
  TemplateError,
  typeName,
  type Value,
} from "./jinja_values.ts";

/** How JSON is written. */
interface Style {
  readonly isAscii: boolean;
  readonly isSorted: boolean;
  /** What a line begins with, once for each level; undefined writes everything in one line. */
  readonly margin: string | undefined;
  readonly comma: string;
  readonly colon: string;
  readonly budget: Budget;
}

/**
 * Writes a value as JSON.
 *
 * @param args `ensure_ascii`, `indent`, `separators` and `sort_keys`, as Python has them.
 * @throws {TemplateError} If a value has no JSON.
 */
export function jsonText(value: Value, args: Arguments, budget: Budget): string {
  const { ensure_ascii, indent = null, separators = null, sort_keys } = args;
  const width = indent === null || typeof indent === "string" ? 0n : integer(indent);
  budget.reserve(Math.max(0, Number(width)));
  const margin = indent === null
    ? undefined
    : typeof indent === "string"
    ? indent
    : " ".repeat(Math.max(0, Number(width)));
  const [comma = "", colon = ""] = separators === null
    ? [margin === undefined ? ", " : ",", ": "]
    : itemsOf(separators).map(string);
  const style = {
    isAscii: isTrue(ensure_ascii),
    isSorted: isTrue(sort_keys),
    margin,
    comma,
    colon,
  };
  return written(value, "\n", { ...style, budget });
}

function written(value: Value, line: string, style: Style): string {
  const { budget, colon, margin } = style;
  budget.spend(1);
  const known = scalar(value, style);
  if (known !== undefined) return join([known], budget);
  const inner = margin === undefined ? "" : line + margin;
  if (isDictionary(value)) {
    const entries = [...value] as [Value, Value][];
    if (style.isSorted) entries.sort(([a], [b]) => compare(a, b, budget));
    const parts = entries.map(([key, item]) => {
      const name = typeof key === "string" ? scalar(key, style) : `"${scalar(key, style)}"`;
      return name + colon + written(item, inner, style);
    });
    return wrapped("{}", parts, line, style);
  }
  if (isList(value) && !(value instanceof DictView) && !(value instanceof Range)) {
    return wrapped("[]", Array.from(value, (item) => written(item, inner, style)), line, style);
  }
  throw new TemplateError(`one that writes ${typeName(value)} as JSON`);
}

function wrapped(brackets: string, parts: string[], line: string, style: Style): string {
  const { budget, comma, margin } = style;
  if (parts.length === 0) return brackets;
  const [inner, outer] = margin === undefined ? ["", ""] : [line + margin, line];
  return `${brackets[0]}${inner}${join(parts, budget, comma + inner)}${outer}${brackets[1]}`;
}

/** JSON of everything but lists and dictionaries. */
function scalar(value: Value, { isAscii }: Style): string | undefined {
  if (value === null) return "null";
  if (typeof value === "boolean" || typeof value === "bigint") return String(value);
  if (typeof value === "number") {
    return Number.isNaN(value) ? "NaN" : floatText(value).replace("inf", "Infinity");
  }
  if (typeof value !== "string") return undefined;
  const text = JSON.stringify(value);
  if (!isAscii) return text;
  return text.replace(
    /[\x7f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
