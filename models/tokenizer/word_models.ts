/**
 * Models of `tokenizer.json`: how a word becomes token ids.
 *
 * @module
 */

import { Unigram } from "@huggingface/tokenizers";
import { DataError } from "../../core/check.ts";
import { buildBpe, type WordModel } from "./bpe.ts";
import { type Component, unsupported } from "./components.ts";

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
      return unigram(model, ids);
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

function wordPiece(model: Component, ids: ReadonlyMap<string, number>): WordModel {
  const { continuing_subword_prefix: prefix = "##", max_input_chars_per_word: most = 100 } = model;
  if (typeof prefix !== "string" || !Number.isInteger(most) || Number(most) > 10_000) {
    throw unsupported("model.max_input_chars_per_word must be an integer of at most 10000", most);
  }
  const unknown = unknownToken(model, ids);
  return (word) => {
    const characters = Array.from(word);
    if (characters.length > Number(most)) return [unknown()];
    const tokens: number[] = [];
    for (let start = 0; start < characters.length;) {
      let end = characters.length;
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

function unigram(model: Component, ids: ReadonlyMap<string, number>): WordModel {
  const { byte_fallback, unk_id, vocab } = model;
  if (byte_fallback === true) {
    throw unsupported("model.byte_fallback of a Unigram must be false", true);
  }
  const isEntry = (entry: unknown) =>
    Array.isArray(entry) && typeof entry[0] === "string" && Number.isFinite(entry[1]);
  if (!Array.isArray(vocab) || vocab.length === 0 || !vocab.every(isEntry)) {
    throw unsupported("model.vocab of a Unigram must list pieces with scores", typeof vocab);
  }
  if (!Number.isInteger(unk_id) || vocab[Number(unk_id)] === undefined) {
    throw unsupported("model.unk_id must be an entry of the vocabulary", unk_id);
  }
  const library = new Unigram(model as never, "");
  return (word) =>
    (library as unknown as (words: string[]) => string[])([word])
      .map((piece) => ids.get(piece) ?? Number(unk_id));
}
