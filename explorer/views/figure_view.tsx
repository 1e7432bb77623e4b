/**
 * A figure with its heading, its explanation and a button that saves it.
 *
 * @module
 */

import type { ComponentChildren, JSX } from "preact";
import type { PageTools } from "./view_props.ts";

/** What frames a figure. */
export interface FigureProps {
  /** Id of its SVG element. */
  readonly id: string;
  /** Heading. */
  readonly title: string;
  /** What it shows, and how to read it. */
  readonly text: string;
  /** Whether there is nothing to save yet; no if left out. */
  readonly isEmpty?: boolean;
  /** What leaves the page. */
  readonly tools: PageTools;
  /** The figure, and what controls it. */
  readonly children: ComponentChildren;
}

/** Buttons that save a figure. */
export function SaveButtons(
  { id, title, isEmpty = false, tools }: {
    readonly id: string;
    readonly title: string;
    readonly isEmpty?: boolean;
    readonly tools: PageTools;
  },
): JSX.Element {
  return (
    <span class="save">
      {(["svg", "png"] as const).map((format) => (
        <button
          key={format}
          type="button"
          class="small"
          disabled={isEmpty}
          onClick={() => tools.saveFigure(id, format)}
          aria-label={`Save ${title} as ${format.toUpperCase()}`}
        >
          {format.toUpperCase()}
        </button>
      ))}
    </span>
  );
}

/** A figure. */
export function FigureView(
  { id, title, text, isEmpty, tools, children }: FigureProps,
): JSX.Element {
  return (
    <section class="card figure" aria-labelledby={`${id}-title`}>
      <header>
        <h2 id={`${id}-title`}>{title}</h2>
        <SaveButtons id={id} title={title} isEmpty={isEmpty === true} tools={tools} />
      </header>
      <p class="hint">{text}</p>
      {children}
    </section>
  );
}
