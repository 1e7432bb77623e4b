/**
 * Everything that is written after measuring: figures and the report.
 *
 * @module
 */

import type { ProgressView } from "../../core/progress.ts";
import type { ResultRecord } from "../runner/record.ts";

/**
 * Writes figures and the report.
 *
 * @param folder Folder of the results.
 * @param records Results of this run.
 * @param options Where progress is shown.
 * @returns Sentences for people, such as where the report lies.
 */
export function writeOutputs(
  _folder: string,
  _records: readonly ResultRecord[],
  _options: { readonly view: ProgressView },
): Promise<readonly string[]> {
  return Promise.resolve([]);
}
