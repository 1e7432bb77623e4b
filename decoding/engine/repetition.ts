/**
 * A prompt that is repeated after itself, for scores that read what the repetition attends to; nothing stays of it.
 *
 * @module
 */

import { checkInteger } from "../../core/check.ts";
import type { Model } from "../../models/load.ts";
import type { HostScores } from "../scoring/host_scores.ts";
import { Session } from "../session/session.ts";

/** Most tokens that are repeated at once, as KVzip does. */
const PIECE = 2000;
/** Tokens before a later piece that are repeated along with it, so that it is clear where the text goes on. */
const LEAD = 8;

/**
 * Repeats a prompt and passes on the attention of the repetition. Where the context does not hold the prompt twice, it is
 * repeated in pieces, each of them right after the prompt.
 *
 * @param model The model.
 * @param tokens The prompt.
 * @param options What reads the attention; ends the work between chunks.
 * @throws {RequirementError} If the context has no room after the prompt.
 */
export async function repeatPrompt(
  model: Model,
  tokens: readonly number[],
  { scores, signal }: { readonly scores: readonly HostScores[]; readonly signal?: AbortSignal },
): Promise<void> {
  const { contextLength, queryHeads } = model.config;
  const room = Math.min(tokens.length, PIECE, contextLength - tokens.length);
  const size = room === tokens.length ? room : room - LEAD;
  checkInteger("repeat a prompt", "tokens after it in the context", {
    value: contextLength - tokens.length,
    min: Math.min(tokens.length, LEAD + 1),
  });
  const heads = Array.from({ length: queryHeads }, (_, head) => head);
  const common = { logits: "none", ...(signal && { signal }) } as const;
  using again = new Session(model, { capacity: tokens.length + room, holdsAll: true });
  await again.prefill(tokens, common);
  for (let start = 0; start < tokens.length; start += size) {
    const end = Math.min(tokens.length, start + size);
    again.rewind(tokens.length, 0);
    await again.prefill(tokens.slice(Math.max(0, start - LEAD), end), {
      ...common,
      heads: () => heads,
      onMap: (block) => scores.forEach((one) => one.addRepetition(block, { start, end })),
    });
  }
}
