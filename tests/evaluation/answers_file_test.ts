import { assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { DataError } from "../../core/check.ts";
import type { Row } from "../../evaluation/answer_row.ts";
import { openRows, readRows, rowLine, writeRows } from "../../evaluation/answers_file.ts";
import { temporaryFolder } from "../support/model_writer.ts";

function row(id: string, group = "é"): Row {
  const place = { task: "t", item: id, group, prompt: "p", promptTokens: 1 };
  return { schema: 1, id, ...place, skipped: { tokens: 3, context: 2 } };
}

Deno.test("readRows() gives what was added, whatever the length of a line", async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, "inner", "answers.jsonl");
  assertEquals(await readRows(path), { rows: [], bytes: 0, tornBytes: 0 });
  const rows = [row("a"), row("b", "x".repeat(200_000)), row("c")];
  {
    await using writer = await openRows(path, 0);
    await writer.append(rows.slice(0, 1));
    await writer.append(rows.slice(1));
  }
  const bytes = rows.reduce((sum, one) => sum + new TextEncoder().encode(rowLine(one)).length, 0);
  assertEquals(await readRows(path), { rows, bytes, tornBytes: 0 });
  await writeRows(path, [rows[2]!]);
  assertEquals((await readRows(path)).rows, [rows[2]!]);
});

Deno.test("a line that a process did not finish is cut off, wherever it ended", async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, "answers.jsonl");
  const [first, second] = [row("a"), row("b")].map((one) =>
    new TextEncoder().encode(rowLine(one))
  ) as [Uint8Array, Uint8Array];
  for (let length = 1; length < second.length; length += 7) {
    await Deno.writeFile(path, new Uint8Array([...first, ...second.subarray(0, length)]));
    const { rows, bytes, tornBytes } = await readRows(path);
    assertEquals([rows, bytes, tornBytes], [[row("a")], first.length, length]);
    await using writer = await openRows(path, bytes);
    await writer.append([row("c")]);
    assertEquals((await readRows(path)).rows, [row("a"), row("c")]);
  }
});

Deno.test("readRows() refuses whole lines that are no answers", async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, "answers.jsonl");
  const refusals = [
    ["{\n", "line 2: it must be JSON"],
    ["null\n", "line 2: its schema must be 1: current value is none"],
    ['{"schema":2}\n', "line 2: its schema must be 1: current value is 2"],
    ['{"schema":1,"id":"x"}\n', "line 2: it must be an answer"],
  ] as const;
  for (const [line, message] of refusals) {
    await Deno.writeTextFile(path, rowLine(row("a")) + line);
    await assertRejects(() => readRows(path), DataError, message);
  }
});
