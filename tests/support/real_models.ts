/**
 * Real model files for tests that need them.
 *
 * @module
 */

const folder = Deno.env.get("SMALLKV_MODELS");
const missing = new Set<string>();

/**
 * Path of a model file in the folder that `SMALLKV_MODELS` names.
 *
 * @returns Its path; undefined, with a line that says why, where it is not available.
 */
export function realModel(file: string): string | undefined {
  const path = folder === undefined ? undefined : `${folder}/${file}`;
  if (path !== undefined && exists(path)) return path;
  if (!missing.has(file)) {
    console.warn(
      `Tests of ${file} are skipped: SMALLKV_MODELS must name a folder that holds it (see README)`,
    );
  }
  missing.add(file);
  return undefined;
}

function exists(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}
