/**
 * Tokens that `tokenizer_config.json` declares, beside or instead of `tokenizer.json`.
 *
 * @module
 */

import type { AddedToken } from "./added_tokens.ts";
import { type Component, unsupported } from "./components.ts";
import { END_MARKERS } from "./end_markers.ts";

/** Most tokens that a file may add to a vocabulary. */
const MAX_ADDED = 2 ** 18;

/**
 * Lists the added tokens of a tokenizer, those of `tokenizer_config.json` among them, as transformers does.
 *
 * What `tokenizer_config.json` declares wins where both files have a token. A token that neither the vocabulary nor
 * `tokenizer.json` has comes after the vocabulary, in the order of `added_tokens_decoder`, roles, further tokens.
 *
 * @param listed `added_tokens` of `tokenizer.json`.
 * @param config Content of `tokenizer_config.json`.
 * @param ids Ids of the pieces of the model.
 * @returns The tokens; those that end a turn or have a role are special whatever a file says.
 * @throws {DataError} If a declaration is malformed, or an id differs from the one that the token gets.
 */
export function addedTokens(
  listed: readonly Component[],
  config: object,
  ids: ReadonlyMap<string, number>,
): AddedToken[] {
  const tokens = new Map<string, AddedToken>();
  let next = ids.size;
  const add = (token: Component) => {
    const content = String(token.content);
    const id = tokens.get(content)?.id ?? ids.get(content) ?? next;
    next = Math.max(next, id + 1);
    tokens.set(content, addedToken(token, id));
    return id;
  };
  for (const token of listed) add(token);
  for (const [announced, token] of decoderEntries(config)) {
    const id = add(token);
    if (id === announced) continue;
    throw unsupported(
      `tokenizer_config.json: added_tokens_decoder must give "${token.content}" the id ${id}, which it has or which follows the vocabulary`,
      announced,
    );
  }
  for (const token of roleTokens(config)) {
    const known = tokens.get(String(token.content));
    add({ normalized: false, ...known, ...token, special: true });
  }
  return [...tokens.values()].map((token) => ({
    ...token,
    special: token.special || END_MARKERS.has(token.content),
  }));
}

function addedToken(token: Component, id: number): AddedToken {
  const { content, special, normalized } = token;
  if (typeof content !== "string") throw unsupported("added_tokens must have a content", content);
  const isSpecial = special === true;
  return {
    id,
    content,
    special: isSpecial,
    normalized: typeof normalized === "boolean" ? normalized : !isSpecial,
    single_word: token.single_word === true,
    lstrip: token.lstrip === true,
    rstrip: token.rstrip === true,
  };
}

function decoderEntries(config: object): [number, Component][] {
  const { added_tokens_decoder: decoder } = config as Component;
  if (decoder === undefined || decoder === null) return [];
  const entries = typeof decoder === "object" ? Object.entries(decoder) : [];
  const isToken = (token: unknown): token is Component =>
    typeof (token as Component | null)?.content === "string";
  if (
    typeof decoder !== "object" || entries.length > MAX_ADDED ||
    !entries.every(([, token]) => isToken(token))
  ) {
    throw unsupported(
      "tokenizer_config.json: added_tokens_decoder must give ids tokens with a content",
      decoder,
    );
  }
  return entries.map(([id, token]): [number, Component] => [Number(id), token])
    .sort(([a], [b]) => a - b);
}

/** Names of the roles that transformers knows. */
const ROLES = ["bos", "eos", "unk", "sep", "pad", "cls", "mask"].map((role) => `${role}_token`);

/** Tokens that have a role, and further special ones, in the order in which they are added. */
function roleTokens(config: object): Component[] {
  const fields = config as Component;
  const list = fields.extra_special_tokens ?? fields.additional_special_tokens;
  const further: unknown[] = typeof list === "object" && list !== null ? Object.values(list) : [];
  return [...ROLES.map((role) => fields[role]), ...further].flatMap((value): Component[] => {
    if (typeof value === "string") return [{ content: value }];
    const { content } = (value ?? {}) as Component;
    return typeof content === "string" ? [value as Component] : [];
  });
}

/**
 * Reads which tokens a template may name.
 *
 * @param config Content of `tokenizer_config.json`.
 * @returns Texts by name, such as `bos_token`; null where the file says that there is none. What the file does not mention
 *   is not there.
 */
export function namedTokens(config: object): Record<string, string | null> {
  const named: Record<string, string | null> = {};
  for (const role of ROLES) {
    const value = (config as Component)[role];
    const text = typeof value === "object" && value !== null ? (value as Component).content : value;
    if (text === null || typeof text === "string") named[role] = text;
  }
  return named;
}
