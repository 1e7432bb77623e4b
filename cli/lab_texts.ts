/**
 * Texts of the datasets that experiments know, from the data folder.
 *
 * @module
 */

import { bbh } from "../data/bbh.ts";
import { dataFolder, type Dataset } from "../data/dataset.ts";
import { gsm8k } from "../data/gsm8k.ts";
import { microworld } from "../data/microworld.ts";
import { mmlu } from "../data/mmlu.ts";
import { mtBench } from "../data/mt_bench.ts";
import { wikitext2 } from "../data/wikitext2.ts";
import type { DatasetName, ExperimentText } from "../experiments/experiment.ts";

const DATASETS: Readonly<Record<DatasetName, Dataset>> = {
  microworld,
  wikitext2,
  bbh,
  gsm8k,
  mmlu,
  mt_bench: mtBench,
};

/**
 * Reads texts of a dataset.
 *
 * @param name Which one.
 * @param limit Most texts.
 * @param folder Data folder; that of the environment if left out. Generated datasets need none.
 * @returns Texts in a fixed order.
 * @throws {DataError} If a file is missing or damaged.
 */
export async function datasetTexts(
  name: DatasetName,
  limit: number,
  folder?: string,
): Promise<readonly ExperimentText[]> {
  const dataset = DATASETS[name];
  const place = dataset.files.length === 0 ? "" : dataFolder(folder);
  return await dataset.texts(place, limit);
}
