import { assert, assertEquals, assertMatch } from "@std/assert";
import { fileURLToPath } from "node:url";
import { type CodeCell, type Notebook, wholeText } from "../../tools/notebook_file.ts";
import { Kernel } from "../../tools/notebook_kernel.ts";
import { runNotebook } from "../../tools/notebook_run.ts";

const folder = fileURLToPath(new URL("../../notebooks/", import.meta.url));

/** A notebook of the given cells; an entry may add tags. */
function notebookOf(...sources: readonly (string | { code: string; tags: string[] })[]): Notebook {
  const cells = sources.map((entry): CodeCell => ({
    cell_type: "code",
    metadata: typeof entry === "string" ? {} : { tags: entry.tags },
    source: typeof entry === "string" ? entry : entry.code,
    execution_count: null,
    outputs: [],
  }));
  return { cells, metadata: {}, nbformat: 4, nbformat_minor: 5 };
}

/** All that a cell shows as text. */
function textOf(notebook: Notebook, index: number): string {
  const { outputs } = notebook.cells[index] as CodeCell;
  return outputs.map((output) => {
    if (output.output_type === "stream") return wholeText(output.text);
    if (output.output_type === "error") return `${output.ename}: ${output.evalue}`;
    return wholeText(output.data["text/plain"] as string);
  }).join("|");
}

/** One cell of each kind, with what must be stored of it. */
const TORTURE: readonly ((cell: number) => { code: string; isKept: (text: string) => boolean })[] =
  [
    (cell) => ({ code: `"value" + ${cell}`, isKept: (text) => text.includes(`value${cell}`) }),
    (cell) => ({
      code: `await Promise.resolve("awaited" + ${cell})`,
      isKept: (text) => text.includes(`awaited${cell}`),
    }),
    (cell) => ({
      code: `for (let line = 0; line < 200; line++) console.log("line", ${cell}, line);`,
      isKept: (text) =>
        text === Array.from({ length: 200 }, (_, line) => `line ${cell} ${line}\n`).join(""),
    }),
    (cell) => ({
      code: `await withProgress("Work ${cell}", async (progress) => {
      for (let item = 0; item < 20; item++) progress.advance();
    }, { total: 20, intervalMs: 0 });`,
      isKept: (text) => text.startsWith(`Work ${cell}: done`) && !text.includes("|"),
    }),
    (cell) => ({
      code: `for (let line = 0; line < 20; line++) console.log(line);
      "last${cell}"`,
      isKept: (text) => text.includes("19\n") && text.includes(`last${cell}`),
    }),
    (cell) => ({
      code:
        `await withProgress("Sum ${cell}", async (progress) => progress.advance(), { total: 1 });
      await showTable({ title: "Table ${cell}", columns: ["n"], rows: [[${cell}]] });`,
      isKept: (text) => text.includes(`Sum ${cell}: done`) && text.includes(`Table ${cell}`),
    }),
  ];

for (const trial of [1, 2, 3]) {
  Deno.test(`runNotebook() stores the final state of 60 of 60 cells, trial ${trial}`, async () => {
    const cells = Array.from({ length: 60 }, (_, cell) => TORTURE[cell % TORTURE.length]!(cell));
    const notebook = notebookOf(
      `import { showTable, withProgress } from "@smallkv/lab/notebook";`,
      ...cells.map(({ code }) => code),
    );
    assertEquals(await runNotebook(notebook, { folder }), []);
    const lost = cells.filter(({ isKept }, index) => !isKept(textOf(notebook, index + 1)));
    assertEquals(lost.map(({ code }) => code), []);
  });
}

Deno.test("runNotebook() keeps what a failing cell wrote, and stops", async () => {
  const notebook = notebookOf(
    `console.log("before"); throw new RangeError("too large");`,
    `"after"`,
  );
  assertEquals(await runNotebook(notebook, { folder }), ["cell 0: RangeError: too large"]);
  assertEquals(textOf(notebook, 0), "before\n|RangeError: too large");
  assertEquals(textOf(notebook, 1), "");
});

Deno.test("runNotebook() continues after cells that are meant to fail", async () => {
  const notebook = notebookOf({ code: `throw 1`, tags: ["raises-exception"] }, `"after"`);
  assertEquals(await runNotebook(notebook, { folder }), []);
  assertEquals(textOf(notebook, 1), `"after"`);
});

Deno.test("runNotebook() reports code that does not compile", async () => {
  const notebook = notebookOf(`const = 3`);
  const [failure] = await runNotebook(notebook, { folder });
  assertMatch(failure!, /did not compile/);
  assertMatch(textOf(notebook, 0), /^RunError/);
});

Deno.test("runNotebook() interrupts a loop; the kernel and its variables survive", async () => {
  const notebook = notebookOf(`let kept = 41;`, `while (true) kept = 42;`, `kept`);
  const startedAt = performance.now();
  const failures = await runNotebook(notebook, { folder, timeoutMs: 1500, allowErrors: true });
  assertEquals(failures.length, 1);
  assertMatch(failures[0]!, /cell 1: The cell ran longer than 1.5 s/);
  assertEquals(textOf(notebook, 2), "42");
  assert(performance.now() - startedAt < 20_000);
});

Deno.test("runNotebook() ends a kernel whose cell never settles", async () => {
  const notebook = notebookOf(`await new Promise(() => {})`, `"after"`);
  const failures = await runNotebook(notebook, { folder, timeoutMs: 500, allowErrors: true });
  assertEquals(failures.length, 1);
  assertMatch(failures[0]!, /longer than 0.5 s/);
  assertEquals(textOf(notebook, 1), "");
});

Deno.test("runNotebook() reports a kernel that ends", async () => {
  const [failure] = await runNotebook(notebookOf(`Deno.exit(3)`), { folder });
  assertEquals(failure, "cell 0: The kernel ended with code 3");
});

Deno.test("runNotebook() merges updates of one display, also from a later cell", async () => {
  const show = (text: string, update: boolean) =>
    `await Deno.jupyter.display({ "text/plain": "${text}" }, { raw: true, display_id: "d", update: ${update} });`;
  const notebook = notebookOf(show("first", false), show("second", true));
  assertEquals(await runNotebook(notebook, { folder }), []);
  assertEquals(textOf(notebook, 0), "second");
  assertEquals(textOf(notebook, 1), "");
});

Deno.test("runNotebook() stores text as a screen shows it", async () => {
  const notebook = notebookOf(
    `console.log("10 %\\r20 %\\rdone");`,
    `console.log("gone"); await Deno.jupyter.broadcast("clear_output", { wait: true }); console.log("kept");`,
  );
  assertEquals(await runNotebook(notebook, { folder }), []);
  assertEquals(textOf(notebook, 0), "done\n");
  assertEquals(textOf(notebook, 1), "kept\n");
});

Deno.test("a cell with a signal ends within 2 s of it, and its variables survive", async () => {
  await using kernel = await Kernel.start({ folder });
  const run = async (code: string) => {
    let text = "";
    const { failure } = await kernel.execute(code, {
      timeoutMs: 120_000,
      onMessage: ({ type, content }) => {
        if (type === "execute_result" || type === "display_data") {
          text += (content.data as Record<string, string>)["text/plain"];
        }
      },
    });
    return { failure, text };
  };
  await run(`import { fig1b } from "@smallkv/lab/experiments";
    import { measure, openLab, stopAfter } from "@smallkv/lab/notebook";
    const lab = await openLab();
    let startedAt = 0;`);
  const long = await run(`startedAt = performance.now();
    await measure(lab, fig1b, { scale: "paper", signal: stopAfter(2) });`);
  assertMatch(long.failure, /Stopped after the limit of 2.0 s/);
  const late = Number((await run(`performance.now() - startedAt - 2000`)).text);
  assert(late < 2000, `${late} ms after the signal`);
  const again = await run(`(await measure(lab, fig1b)).claims.length`);
  assertEquals([again.failure, again.text.endsWith("5")], ["", true]);
});
