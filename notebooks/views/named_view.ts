/**
 * A view of the explorer, drawn without scripts, with a name and a text.
 *
 * @module
 */

import type { VNode } from "preact";
import { staticPage } from "../../views/static_page.tsx";

/** A drawn view with a name for its file. */
export interface NamedView {
  /** File stem. */
  readonly name: string;
  /** One line for readers who cannot see it. */
  readonly text: string;
  /** A whole HTML file. */
  readonly page: string;
}

/** What every view needs besides what it shows. */
export interface ViewOptions {
  /** File stem. */
  readonly name: string;
  /** Heading. */
  readonly title: string;
  /** Sentences below the picture. */
  readonly caption?: string;
}

/** Width of views in pixels, without the frame around them. */
export const VIEW_WIDTH = 684;

/**
 * Draws a view.
 *
 * @param options Name, heading and caption.
 * @param body What is drawn.
 */
export function namedView({ name, title, caption }: ViewOptions, body: VNode): NamedView {
  const text = `Figure: ${[title, caption].filter(Boolean).join(". ")}`;
  return { name, text, page: staticPage({ title, caption, body }) };
}
