/**
 * Post-processors of `tokenizer.json`: special tokens around a text.
 *
 * @module
 */

import { type Component, componentsOf, unsupported } from "./components.ts";

/** Ids around those of a text. */
export interface SurroundingTokens {
  /** Before it. */
  readonly before: readonly number[];
  /** After it. */
  readonly after: readonly number[];
}

const PART = "post_processor";

/**
 * Reads which special tokens stand around a text.
 *
 * @param value `post_processor` of `tokenizer.json`.
 * @param ids Ids of all tokens.
 * @throws {DataError} If a component is malformed or not supported, or names a token that there is not.
 */
export function surroundingTokens(
  value: unknown,
  ids: ReadonlyMap<string, number>,
): SurroundingTokens {
  let around: SurroundingTokens = { before: [], after: [] };
  for (const component of componentsOf(value, PART, "processors")) {
    const { before, after } = tokensOf(component, ids);
    around = { before: [...before, ...around.before], after: [...around.after, ...after] };
  }
  return around;
}

function tokensOf(component: Component, ids: ReadonlyMap<string, number>): SurroundingTokens {
  const { type } = component;
  if (type === "ByteLevel") return { before: [], after: [] };
  if (type === "TemplateProcessing") return template(component, ids);
  if (type === "BertProcessing" || type === "RobertaProcessing") {
    return { before: [pairId(component, "cls")], after: [pairId(component, "sep")] };
  }
  throw unsupported(
    "post_processor.type must be one of TemplateProcessing, ByteLevel, BertProcessing, RobertaProcessing, Sequence",
    type,
  );
}

/** The id of a pair of a text and an id. */
function pairId(component: Component, name: string): number {
  const pair = component[name];
  const id: unknown = Array.isArray(pair) ? pair[1] : undefined;
  if (Number.isInteger(id)) return id as number;
  throw unsupported(`post_processor.${name} must be a text with its id`, pair);
}

function template(component: Component, ids: ReadonlyMap<string, number>): SurroundingTokens {
  const { single, special_tokens } = component;
  if (!Array.isArray(single)) throw unsupported("post_processor.single must be a list", single);
  const isText = (item: Component | null) => (item?.Sequence as Component | undefined)?.id === "A";
  const place = single.findIndex(isText);
  if (place < 0 || single.filter(isText).length > 1) {
    throw unsupported("post_processor.single must have the text once", single);
  }
  const found = (items: Component[]) =>
    items.flatMap((item) => {
      const name = String((item?.SpecialToken as Component | undefined)?.id);
      const listed = (special_tokens as Record<string, Component> | undefined)?.[name]?.ids;
      const own: unknown[] = Array.isArray(listed) ? listed : [ids.get(name)];
      if (own.every((id) => Number.isInteger(id))) return own as number[];
      throw unsupported("post_processor.single must name tokens of the vocabulary", item);
    });
  return { before: found(single.slice(0, place)), after: found(single.slice(place + 1)) };
}
