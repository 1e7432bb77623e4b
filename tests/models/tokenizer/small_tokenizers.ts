/**
 * Small tokenizers for tests: the embedded one and those of small.json.
 *
 * @module
 */

import {
  createTokenizer,
  type Tokenizer,
  tokenizerFromGguf,
} from "../../../models/tokenizer/tokenizer.ts";
import small from "../../fixtures/tokenizer/small.json" with { type: "json" };
import embeddedJson from "../../../data/embedded/large/tokenizer.json" with { type: "json" };

/** Tokenizer of the embedded pair. */
export const embedded: Tokenizer = createTokenizer({ json: embeddedJson, config: {} });

/** Encodes without special tokens around the text. */
export function plainIds(tokenizer: Tokenizer, text: string): number[] {
  return tokenizer.encode(text, { addSpecialTokens: false });
}

/** The byte-level vocabulary of small.json under a value of `tokenizer.ggml.pre`. */
export function smallByteLevel(pre: string): Tokenizer {
  const { tokens, merges } = small.byteLevel;
  return createTokenizer(tokenizerFromGguf({
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": pre,
    "tokenizer.ggml.tokens": tokens,
    "tokenizer.ggml.token_type": tokens.map((token) => token === "<|end|>" ? 3 : 1),
    "tokenizer.ggml.merges": merges,
    "tokenizer.ggml.bos_token_id": tokens.indexOf("<|end|>"),
    "tokenizer.ggml.add_bos_token": false,
  }));
}

/** The SentencePiece vocabulary of small.json; further metadata may be given. */
export function smallSentencePiece(extra: Record<string, unknown> = {}): Tokenizer {
  const { tokens, scores, types } = small.sentencePiece;
  return createTokenizer(tokenizerFromGguf({
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": tokens,
    "tokenizer.ggml.scores": scores,
    "tokenizer.ggml.token_type": types,
    "tokenizer.ggml.unknown_token_id": 0,
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.add_bos_token": false,
    ...extra,
  }));
}
