/**
 * The automated check of accessibility.
 *
 * @module
 */

import type { Page } from "playwright-core";

/** Faults that axe finds, in light or dark, with their places. */
export async function axeFaults(page: Page, colorScheme: "light" | "dark"): Promise<unknown[]> {
  await page.emulateMedia({ colorScheme });
  const source = (await import("axe-core")).default.source;
  await page.evaluate(source);
  const { violations } = await page.evaluate("axe.run()") as {
    violations: { id: string; nodes: { html: string; failureSummary: string }[] }[];
  };
  return violations.map(({ id, nodes }) => ({
    id,
    places: nodes.slice(0, 3).map(({ html, failureSummary }) => `${html} ${failureSummary}`),
  }));
}
