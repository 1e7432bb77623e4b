/**
 * Notebook files: their parts, reading and writing.
 *
 * @see {@link https://nbformat.readthedocs.io/en/latest/format_description.html | nbformat 4.5}
 * @module
 */

/** Text as files hold it: whole, or line by line. */
export type NotebookText = string | readonly string[];

/** An output of a cell. */
export type CellOutput =
  | { readonly output_type: "stream"; readonly name: string; text: NotebookText }
  | {
    readonly output_type: "display_data" | "execute_result";
    readonly execution_count?: number | null;
    data: Record<string, unknown>;
    metadata: Record<string, unknown>;
  }
  | {
    readonly output_type: "error";
    readonly ename: string;
    readonly evalue: string;
    readonly traceback: readonly string[];
  };

/** A cell with code. */
export interface CodeCell {
  readonly cell_type: "code";
  readonly id?: string;
  readonly metadata: { readonly tags?: readonly string[] };
  readonly source: NotebookText;
  execution_count: number | null;
  outputs: CellOutput[];
}

/** A cell with text. */
export interface TextCell {
  readonly cell_type: "markdown" | "raw";
  readonly id?: string;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly source: NotebookText;
}

/** A notebook. */
export interface Notebook {
  readonly cells: readonly (CodeCell | TextCell)[];
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly nbformat: number;
  readonly nbformat_minor: number;
}

/** Joins text. */
export function wholeText(text: NotebookText): string {
  return typeof text === "string" ? text : text.join("");
}

/**
 * Splits text as notebook files hold it, so that differences show line by line.
 *
 * @returns Lines with their ends.
 */
export function textLines(text: string): string[] {
  return text.match(/[^\n]*\n|[^\n]+/g) ?? [];
}

/**
 * Reads a notebook.
 *
 * @throws {SyntaxError} If the file is not a notebook of format 4.
 */
export async function readNotebook(path: string | URL): Promise<Notebook> {
  const value = JSON.parse(await Deno.readTextFile(path));
  if (value?.nbformat === 4 && Array.isArray(value.cells)) return value;
  throw new SyntaxError(
    `Cannot read ${path}: it must be a notebook of format 4: current format is ${value?.nbformat}`,
  );
}

/** Writes a notebook as Jupyter does, with one space of indentation, but figures in one line each. */
export async function writeNotebook(path: string | URL, notebook: Notebook): Promise<void> {
  await Deno.writeTextFile(path, await formatNotebook(notebookText(notebook)));
}

/**
 * Formats the cells of a notebook as `deno fmt` does.
 *
 * Its own check takes every notebook for unformatted (Deno 2.9.6), so notebooks are left out of it and
 * formatted here.
 *
 * @throws {SyntaxError} If a cell does not parse.
 */
export async function formatNotebook(text: string): Promise<string> {
  const formatter = new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--ext", "ipynb", "-"],
    cwd: new URL("../", import.meta.url),
    env: { NO_COLOR: "1" },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const written = new Response(text).body!.pipeTo(formatter.stdin);
  const { success, stdout, stderr } = await formatter.output();
  await written;
  if (success) return new TextDecoder().decode(stdout);
  throw new SyntaxError(
    `Cannot format a notebook: cells must parse: ${new TextDecoder().decode(stderr).trim()}`,
  );
}

/**
 * Text of a notebook's file.
 *
 * @returns JSON that ends with a line end.
 */
export function notebookText(notebook: Notebook): string {
  const figures: string[] = [];
  const mark = `figure-${crypto.randomUUID()}-`;
  const text = JSON.stringify(notebook, (key, value) => {
    if (!/^application\/.*json$/.test(key)) return value;
    return `${mark}${figures.push(JSON.stringify(value)) - 1}`;
  }, 1);
  return `${text.replaceAll(new RegExp(`"${mark}(\\d+)"`, "g"), (_, index) => figures[index]!)}\n`;
}

/**
 * Lists the cells that can be run.
 *
 * @returns Code cells that are not empty, with their place among all cells.
 */
export function codeCells(
  notebook: Notebook,
): { readonly index: number; readonly cell: CodeCell }[] {
  return notebook.cells.flatMap((cell, index) =>
    cell.cell_type === "code" && wholeText(cell.source).trim() !== "" ? [{ index, cell }] : []
  );
}
