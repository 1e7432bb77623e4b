import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { TASKS } from "../../data/tasks/mod.ts";
import { readRows } from "../../evaluation/answers_file.ts";
import { ANSWERS_FILE, readSummary, summarizeEvaluation } from "../../evaluation/folder.ts";

const EVALUATIONS = new URL("../../results/evaluation/", import.meta.url).pathname;

Deno.test("every committed evaluation is the summary of the answers next to it", async () => {
  let count = 0;
  for await (const { name } of Deno.readDir(EVALUATIONS)) {
    const folder = join(EVALUATIONS, name);
    const { rows } = await readRows(join(folder, ANSWERS_FILE));
    const known = await readSummary(folder);
    assert(known, `${name} has no summary`);
    const { models, counted } = known;
    const options = { models, tasks: TASKS, code: "", accept: Object.keys(counted) };
    const { summary } = summarizeEvaluation(rows, options);
    assertEquals(JSON.parse(JSON.stringify(summary)), known, name);
    count++;
  }
  assert(count > 0);
});
