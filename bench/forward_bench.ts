/**
 * Times prefill and decode of this engine.
 *
 * @module
 */

import { Session } from "../decoding/session/session.ts";
import type { Model } from "../models/load.ts";
import type { SpeedFigures, SpeedShape } from "./figures.ts";

/** One prompt and its continuation. */
async function runOnce(
  session: Session,
  shape: SpeedShape,
): Promise<{ ttftMs: number; tpotMs: number; tokens: number[] }> {
  session.rewind(0);
  const start = performance.now();
  await session.prefill(shape.prompt, { logits: "last" });
  const first = await session.nextTokens();
  const ttftMs = performance.now() - start;
  const decoded = await session.decode(shape.newTokens);
  const tpotMs = (performance.now() - start - ttftMs) / shape.newTokens;
  return { ttftMs, tpotMs, tokens: [...first, ...decoded[0]!] };
}

/**
 * Times a model; the wall clock stops when token ids are on the CPU.
 *
 * @param model Model to time.
 * @param shape Sizes of the run.
 * @returns Times of each repetition after a warm-up.
 */
export async function benchForward(model: Model, shape: SpeedShape): Promise<SpeedFigures> {
  using session = new Session(model, { capacity: shape.prompt.length + shape.newTokens + 2 });
  await runOnce(session, shape);
  const runs = [];
  for (let index = 0; index < shape.repetitions; index++) runs.push(await runOnce(session, shape));
  return {
    engine: `smallkv, ${model.device.info.backend} (${model.device.info.description})`,
    ttftMs: runs.map(({ ttftMs }) => ttftMs),
    tpotMs: runs.map(({ tpotMs }) => tpotMs),
    tokens: runs.at(-1)!.tokens,
  };
}
