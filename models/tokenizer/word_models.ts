/**
 * Models of `tokenizer.json`: how a word becomes token ids.
 *
 * @module
 */

import { DataError } from "../../core/check.ts";
import { buildBpe, type WordModel } from "./bpe.ts";
import { type Component, unsupported } from "./components.ts";
import { buildUnigram } from "./unigram.ts";

/**
 * Builds the model of a tokenizer.
 *
 * @param model `model` of `tokenizer.json`.
 * @param ids Ids of the pieces.
 * @throws {DataError} If the model is malformed or not supported.
 */
export function buildWordModel(model: Component, ids: ReadonlyMap<string, number>): WordModel {
  const { type = "merges" in model ? "BPE" : Array.isArray(model.vocab) ? "Unigram" : undefined } =
    model;
  switch (type) {
    case "BPE":
      return buildBpe(model, ids);
    case "WordLevel": {
      const unknown = unknownToken(model, ids);
      return (word) => [ids.get(word) ?? unknown()];
    }
    case "WordPiece":
      return wordPiece(model, ids);
    case "Unigram":
      return buildUnigram(model, ids);
  }
  throw unsupported("model.type must be one of BPE, WordLevel, WordPiece, Unigram", type);
}

/** The id of unknown words, looked up where a text has one. */
function unknownToken({ unk_token }: Component, ids: ReadonlyMap<string, number>): () => number {
  const id = ids.get(String(unk_token));
  return () => {
    if (id !== undefined) return id;
    throw new DataError(
      `Cannot encode a text: model.unk_token must be in the vocabulary: current value is ${unk_token}`,
    );
  };
}

/** Longest word that a WordPiece model may cut: the time grows with the square of it. */
const MAX_WORD = 1000;

function wordPiece(model: Component, ids: ReadonlyMap<string, number>): WordModel {
  const { continuing_subword_prefix: prefix = "##", max_input_chars_per_word: most = 100 } = model;
  if (typeof prefix !== "string" || !Number.isInteger(most) || Number(most) > MAX_WORD) {
    throw unsupported("model.max_input_chars_per_word must be an integer of at most 1000", most);
  }
  const unknown = unknownToken(model, ids);
  let longest = 1;
  for (const piece of ids.keys()) longest = Math.max(longest, piece.length);
  return (word) => {
    const characters = Array.from(word);
    if (characters.length > Number(most)) return [unknown()];
    const tokens: number[] = [];
    for (let start = 0; start < characters.length;) {
      let end = Math.min(characters.length, start + longest);
      let id: number | undefined;
      for (; end > start && id === undefined; end--) {
        id = ids.get((start > 0 ? prefix : "") + characters.slice(start, end).join(""));
      }
      if (id === undefined) return [unknown()];
      tokens.push(id);
      start = end + 1;
    }
    return tokens;
  };
}
