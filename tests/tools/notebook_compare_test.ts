import { assert, assertEquals, assertMatch } from "@std/assert";
import { compareNotebooks, stripNotebook, VOLATILE } from "../../tools/notebook_compare.ts";
import { type CellOutput, type Notebook, notebookText } from "../../tools/notebook_file.ts";

function notebookOf(...outputs: CellOutput[]): Notebook {
  return {
    cells: [{ cell_type: "code", metadata: {}, source: "1", execution_count: 1, outputs }],
    metadata: {},
    nbformat: 4,
    nbformat_minor: 5,
  };
}

function display(
  data: Record<string, unknown>,
  metadata: Record<string, unknown> = {},
): CellOutput {
  return { output_type: "display_data", data, metadata };
}

/** A PNG's first bytes with a size. */
function picture(width: number, height: number): string {
  const bytes = new Uint8Array(40);
  bytes.set([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10, 0, 0, 0, 13, 0x49, 0x48, 0x44, 0x52]);
  new DataView(bytes.buffer).setUint32(16, width);
  new DataView(bytes.buffer).setUint32(20, height);
  return bytes.toBase64();
}

const PLOTLY = "application/vnd.plotly.v1+json";

function faults(a: CellOutput[], b: CellOutput[], hasPictures = true): string[] {
  return compareNotebooks(notebookOf(...a), notebookOf(...b), { hasPictures })
    .map(({ text }) => text);
}

Deno.test("compareNotebooks() finds nothing where only noise differs", () => {
  const a = [
    display({ [PLOTLY]: { data: [{ y: [0.12345, null] }] }, "image/png": picture(720, 400) }),
    display({ "text/plain": ["a 1.2345 [1]\n", "b"] }),
  ];
  const b = [
    display({ [PLOTLY]: { data: [{ y: [0.12346, null] }] }, "image/png": picture(720, 400) }),
    display({ "text/plain": "a 1.2346 [1]\nb" }),
  ];
  assertEquals(faults(a, b), []);
});

/** A view as notebooks store it. */
function frame(words: string, curve: string, png = "", style = ""): CellOutput {
  const page = `&lt;style&gt;${style}\n&lt;/style&gt;&lt;svg d=&quot;${curve}&quot;&gt;${words}`;
  const image = png && `<img src="data:image/png;base64,${png}">`;
  return display({ "text/html": `<div>${image}<iframe srcdoc="${page}"></iframe></div>` });
}

Deno.test("compareNotebooks() compares the words of views", () => {
  const stored = [frame("17 harp: 0.41234", "M1 2", picture(720, 400))];
  assertEquals(faults(stored, [frame("17 harp: 0.41235", "M1 3", picture(720, 410), ".t {}")]), []);
  assertEquals(faults(stored, [frame("17 harp: 0.41234", "M1 2")], false), []);
  assertMatch(faults(stored, [frame("17 harp: 0.5", "M1 2")])[0]!, /text\/html.*became/);
});

Deno.test("stripNotebook() leaves views and their pictures as they are", () => {
  const stored = [frame("token 17 s, 5 min", "M1 2", "a+5s/5h+")];
  const notebook = notebookOf(...structuredClone(stored));
  stripNotebook(notebook, "/some/where");
  const [{ cell_type, ...cell }] = notebook.cells as [Notebook["cells"][number]];
  assertEquals(cell_type, "code");
  assertEquals("outputs" in cell && JSON.stringify(cell.outputs).includes("…"), false);
});

Deno.test("compareNotebooks() names what differs", () => {
  const cases: [CellOutput[], CellOutput[], RegExp][] = [
    [[], [display({ "text/plain": "a" })], /0 outputs are stored, the run gave 1/],
    [[display({ "text/plain": "a 1" })], [display({ "text/plain": "a 2" })], /"a 1" became "a 2"/],
    [
      [display({ [PLOTLY]: { y: [1] } })],
      [display({ [PLOTLY]: { y: [2] } })],
      /\/y\/0: 1 became 2/,
    ],
    [[display({ [PLOTLY]: { y: [1] } })], [display({ [PLOTLY]: { y: [1, 2] } })], /\/y\/1/],
    [[display({ "image/png": picture(1, 2) })], [display({ "image/png": picture(1, 3) })], /size/],
    [[display({ "image/png": picture(1, 2) })], [display({})], /image\/png is missing/],
    [
      [display({})],
      [{ output_type: "stream", name: "stdout", text: "x" }],
      /display_data became stream/,
    ],
  ];
  for (const [a, b, expected] of cases) assertMatch(faults(a, b).join(), expected);
});

Deno.test("compareNotebooks() passes over pictures where none can be drawn", () => {
  const stored = display({ [PLOTLY]: { y: [1] }, "image/png": picture(1, 2) });
  assertEquals(faults([stored], [display({ [PLOTLY]: { y: [1] } })], false), []);
  assertEquals(faults([stored], [display({ [PLOTLY]: { y: [2] } })], false).length, 1);
});

Deno.test("compareNotebooks() looks only at the words of measured outputs", () => {
  const measured = { [VOLATILE]: true };
  const a = [display({ "text/plain": "speed 35.5 tokens" }, measured)];
  assertEquals(faults(a, [display({ "text/plain": "speed 7 tokens" }, measured)]), []);
  assertEquals(faults(a, [display({ "text/plain": "pace 7 tokens" }, measured)]).length, 1);
});

Deno.test("stripNotebook() leaves the numbers of measured outputs", () => {
  const notebook = notebookOf(
    display({ "text/plain": "after 3 s" }),
    display({ "text/plain": "after 3 s" }, { [VOLATILE]: true }),
    { output_type: "stream", name: "stdout", text: "in /some/project/a" },
  );
  stripNotebook(notebook, "/some/project/");
  assertMatch(notebookText(notebook), /after … s/);
  assertMatch(notebookText(notebook), /after 3 s/);
  assertMatch(notebookText(notebook), /in PROJECT\/a/);
});

Deno.test("notebookText() writes each figure in one line", () => {
  const text = notebookText(notebookOf(display({ [PLOTLY]: { data: [{ y: [1, 2, 3] }] } })));
  assert(text.includes(`"${PLOTLY}": {"data":[{"y":[1,2,3]}]}`));
  assertEquals(JSON.parse(text).cells[0].outputs[0].data[PLOTLY], { data: [{ y: [1, 2, 3] }] });
});
