/**
 * The folder with evaluation data, for tests that read it.
 *
 * @module
 */

/** Folder named by SMALLKV_DATA; undefined if there is none, which skips those tests. */
export const dataFolderOfTests: string | undefined = Deno.env.get("SMALLKV_DATA");

if (dataFolderOfTests === undefined) {
  console.warn("Tests of real data are skipped: SMALLKV_DATA names no folder");
}
