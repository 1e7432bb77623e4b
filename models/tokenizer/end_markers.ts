/**
 * Texts of tokens that end a turn or a text, whatever role a file stores for them.
 *
 * @see {@link https://github.com/ggml-org/llama.cpp/blob/master/src/llama-vocab.cpp | llama.cpp, which goes by the same texts}
 * @module
 */

/** The texts; `</s>` is none, since vocabularies of code have it as an ordinary piece, too. */
export const END_MARKERS: ReadonlySet<string> = new Set([
  "<|im_end|>",
  "<|endoftext|>",
  "<|end_of_text|>",
  "<|eot_id|>",
  "<|eom_id|>",
  "<|end|>",
  "<|return|>",
  "<|call|>",
  "<end_of_turn>",
  "<end_of_utterance>",
  "<EOT>",
  "_<EOT>",
  "[EOT]",
  "<\uff5cend\u2581of\u2581sentence\uff5c>",
]);
