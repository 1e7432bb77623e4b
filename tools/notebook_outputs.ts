/**
 * Turns the messages of a kernel into the outputs that a notebook stores, as JupyterLab does.
 *
 * @module
 */

import { type CellOutput, type CodeCell, textLines, wholeText } from "./notebook_file.ts";
import type { KernelMessage } from "./notebook_socket.ts";

/** An output that has a MIME bundle. */
type DisplayOutput = Extract<CellOutput, { data: unknown }>;

/** Fields of the messages that carry outputs; which ones are there depends on the type. */
interface OutputContent {
  readonly data: Record<string, unknown>;
  readonly metadata?: Record<string, unknown>;
  readonly transient?: { readonly display_id?: string };
  readonly execution_count?: number;
  readonly name: string;
  readonly text: string;
  readonly wait?: boolean;
  readonly ename: string;
  readonly evalue: string;
  readonly traceback: readonly string[];
}

/** Collects outputs, cell by cell; displays may be updated from later cells. */
export class OutputCollector {
  readonly #shown = new Map<string, DisplayOutput[]>();
  #cell: CodeCell | undefined;
  #isClearing = false;

  /**
   * Starts a cell, whose outputs of earlier runs are removed.
   *
   * @param cell The cell that outputs go to from now on.
   */
  start(cell: CodeCell): void {
    cell.outputs = [];
    cell.execution_count = null;
    this.#isClearing = false;
    this.#cell = cell;
  }

  /** Takes a message; those that carry no output are ignored. */
  add(message: KernelMessage): void {
    const content = message.content as unknown as OutputContent;
    switch (message.type) {
      case "stream":
        return this.#addStream(content);
      case "display_data":
      case "execute_result":
        return this.#addDisplay(message.type, content);
      case "update_display_data":
        return this.#update(content);
      case "clear_output":
        return this.#clear(content.wait === true);
      case "error":
        return this.#push({
          output_type: "error",
          ename: content.ename,
          evalue: content.evalue,
          traceback: content.traceback,
        });
    }
  }

  /** Puts the cell's outputs into their final order and form. */
  finish(): void {
    const outputs = this.#cell?.outputs ?? [];
    // Errors overtake text that was written before them.
    outputs.sort((a, b) => +(a.output_type === "error") - +(b.output_type === "error"));
    for (const output of outputs) tidy(output);
  }

  #addStream({ name, text }: OutputContent): void {
    this.#clearIfPending();
    const last = this.#cell?.outputs.at(-1);
    if (last?.output_type === "stream" && last.name === name) {
      last.text = wholeText(last.text) + text;
    } else this.#push({ output_type: "stream", name, text });
  }

  #addDisplay(output_type: "display_data" | "execute_result", content: OutputContent): void {
    const { data, metadata = {}, execution_count } = content;
    const output: DisplayOutput = output_type === "execute_result"
      ? { output_type, execution_count: execution_count ?? null, data, metadata }
      : { output_type, data, metadata };
    const id = content.transient?.display_id;
    if (id !== undefined) this.#shown.set(id, [...(this.#shown.get(id) ?? []), output]);
    this.#push(output);
  }

  #update({ data, metadata, transient }: OutputContent): void {
    for (const output of this.#shown.get(transient?.display_id ?? "") ?? []) {
      output.data = data;
      output.metadata = metadata ?? {};
      if (!this.#cell?.outputs.includes(output)) tidy(output);
    }
  }

  #clear(isWaiting: boolean): void {
    this.#isClearing = true;
    if (!isWaiting) this.#clearIfPending();
  }

  #clearIfPending(): void {
    if (this.#isClearing && this.#cell) this.#cell.outputs.length = 0;
    this.#isClearing = false;
  }

  #push(output: CellOutput): void {
    this.#clearIfPending();
    this.#cell?.outputs.push(output);
  }
}

function tidy(output: CellOutput): void {
  if (output.output_type === "stream") {
    // What a carriage return has overwritten is gone.
    output.text = textLines(wholeText(output.text).replace(/^.*\r(?!\n)/gm, ""));
  } else if (output.output_type !== "error") {
    for (const [type, value] of Object.entries(output.data)) {
      if (typeof value === "string" && type.startsWith("text/")) {
        output.data[type] = textLines(value);
      }
    }
  }
}
