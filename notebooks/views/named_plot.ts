/**
 * A drawn figure with a name and a text.
 *
 * @module
 */

import { type PlotlyFigure, plotlyFigure } from "../../experiments/figures/plotly_figure.ts";
import type { Figure } from "../../experiments/result.ts";

/** A drawn figure with a name for its file. */
export interface NamedPlot {
  /** File stem. */
  readonly name: string;
  /** One line for readers who cannot see it. */
  readonly text: string;
  /** Data and layout. */
  readonly plot: PlotlyFigure;
}

/**
 * Draws a figure.
 *
 * @param figure The figure.
 * @param caption Sentences below it; none if left out.
 */
export function namedPlot(figure: Figure, caption?: string): NamedPlot {
  const text = `Figure: ${[figure.title, caption].filter(Boolean).join(". ")}`;
  return { name: figure.name, text, plot: plotlyFigure(figure, { caption }) };
}
