/** @jsxImportSource preact */
/**
 * Views where nothing runs: pages without scripts, as notebooks show them.
 *
 * @module
 */

import type { VNode } from "preact";
import { renderToString } from "preact-render-to-string";
import sheet from "./views.css" with { type: "text" };

/** A view and what surrounds it. */
export interface StaticPage {
  /** Heading. */
  readonly title: string;
  /** Sentences below it; none if left out. */
  readonly caption?: string | undefined;
  /** The view. */
  readonly body: VNode;
}

/**
 * Draws a page that needs nothing but itself, in the colors of light or dark that its reader prefers.
 *
 * @returns A whole HTML file.
 */
export function staticPage({ title, caption, body }: StaticPage): string {
  const page = (
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <title>{title}</title>
        <style dangerouslySetInnerHTML={{ __html: sheet }} />
      </head>
      <body>
        <main class="card">
          <h1 class="title">{title}</h1>
          {body}
          {caption !== undefined && <p class="hint">{caption}</p>}
        </main>
      </body>
    </html>
  );
  return `<!DOCTYPE html>${renderToString(page)}`;
}
