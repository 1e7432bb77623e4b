/**
 * Writes the evaluation items of the embedded pair as tokens, for the check of the exported models.
 *
 *     deno run -A tools/train_pair/write_items.ts --count 100
 *
 * @module
 */

import { parseArgs } from "node:util";
import { answerIds, evaluationItems, GRADED_TASKS, promptIds } from "../../data/microworld.ts";
import embedded from "../../data/embedded/large/tokenizer.json" with { type: "json" };
import { createTokenizer } from "../../models/tokenizer/tokenizer.ts";

function main(): void {
  const { values } = parseArgs({
    args: Deno.args,
    options: { count: { type: "string", default: "100" } },
  });
  const tokenizer = createTokenizer({ json: embedded, config: {} });
  const encode = (text: string) => tokenizer.encode(text, { addSpecialTokens: false });
  const tasks = GRADED_TASKS.map((task) => {
    const items = evaluationItems(task, { count: Number(values.count) });
    return [task, items.map((item) => [promptIds(item, encode), answerIds(item, encode)])];
  });
  console.log(JSON.stringify(Object.fromEntries(tasks)));
}

if (import.meta.main) main();
