import { assert, assertEquals, assertMatch, assertNotEquals, assertNotMatch } from "@std/assert";
import {
  codeCells,
  formatNotebook,
  type Notebook,
  notebookText,
  readNotebook,
  wholeText,
} from "../../tools/notebook_file.ts";
import { machineNames } from "../../tools/notebook_text.ts";

const root = new URL("../../", import.meta.url);
const folder = new URL("notebooks/", root);
const notebooks: { readonly name: string; readonly notebook: Notebook }[] = [];
for (const { name } of [...Deno.readDirSync(folder)].sort((a, b) => a.name < b.name ? -1 : 1)) {
  if (name.endsWith(".ipynb")) {
    notebooks.push({ name, notebook: await readNotebook(new URL(name, folder)) });
  }
}

for (const { name, notebook } of notebooks) {
  const sources = codeCells(notebook).map(({ cell }) => wholeText(cell.source));

  Deno.test(`${name} begins with its question, source and run time`, () => {
    const [first] = notebook.cells;
    assertEquals(first?.cell_type, "markdown");
    const text = wholeText(first!.source);
    for (const part of ["# ", "**Question.**", "**Paper.**", "**Run time.**"]) {
      assert(text.includes(part), part);
    }
  });

  Deno.test(`${name} ends with what its text says`, () => {
    assertMatch(sources.at(-1)!, /await conclude\(lab, \{[\s\S]*\}\);\nawait lab\.close\(\);$/);
  });

  Deno.test(`${name} opens its models in a separate cell`, () => {
    assertEquals(sources.filter((source) => source.includes("openLab(")).length, 1);
    assert(sources.includes("const lab = await openLab();"));
  });

  Deno.test(`${name} is thin: no functions of more than three lines, no files, no loops`, () => {
    for (const source of sources) {
      assertNotMatch(source, /\bfunction\b|\bclass\b|\bwhile\b|\bfor\s*\(|\bif\s*\(|Deno\./);
      for (const [arrow] of source.matchAll(/=> \{[\s\S]*?\n\}/g)) {
        assert(arrow.split("\n").length <= 3, arrow);
      }
    }
  });

  Deno.test(`${name} is stored with all outputs, without errors, times and machine names`, () => {
    const names = machineNames(root.pathname);
    const outputs = codeCells(notebook).flatMap(({ cell }) => cell.outputs);
    assert(codeCells(notebook).every(({ cell }) => typeof cell.execution_count === "number"));
    assert(outputs.length > 0);
    for (const output of outputs) {
      assertNotEquals(output.output_type, "error");
      const text = JSON.stringify(output);
      assert(text.length < 5e6, `${text.length} characters in one output`);
      for (const { name } of names) assert(!text.includes(name), name);
      if ("data" in output && "application/vnd.plotly.v1+json" in output.data) {
        assert("image/png" in output.data && "text/plain" in output.data);
      }
    }
  });

  Deno.test(`${name} is written as --update writes it`, async () => {
    const text = await Deno.readTextFile(new URL(name, folder));
    assert(text === notebookText(notebook), "run deno task notebooks --update");
    assert(text === await formatNotebook(text), "run deno task notebooks --update");
  });
}

Deno.test("the cells of each notebook type-check as one module", async () => {
  const paths = notebooks.map(({ name }) => new URL(`.cells_${name}.ts`, folder));
  try {
    for (const [index, { notebook }] of notebooks.entries()) {
      const source = codeCells(notebook).map(({ cell }) => wholeText(cell.source)).join("\n\n");
      await Deno.writeTextFile(paths[index]!, source);
    }
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["check", "--quiet", ...paths.map(({ pathname }) => pathname)],
      env: { NO_COLOR: "1" },
    }).output();
    assert(success, new TextDecoder().decode(stderr));
  } finally {
    for (const path of paths) await Deno.remove(path).catch(() => {});
  }
});
