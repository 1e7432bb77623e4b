/**
 * Finds and starts a Chromium, where there is one.
 *
 * @module
 */

import { stat } from "node:fs/promises";
import { delimiter, join } from "node:path";
import process from "node:process";
import type { Browser } from "playwright-core";

const NAMES = [
  "chromium",
  "chromium-browser",
  "google-chrome",
  "google-chrome-stable",
  "Google Chrome",
  "Chromium",
];
const PLACES = [
  "/usr/bin",
  "/usr/local/bin",
  "/snap/bin",
  "/Applications/Google Chrome.app/Contents/MacOS",
  "/Applications/Chromium.app/Contents/MacOS",
];

/** How to get what is not drawn without a Chromium. */
export const CHROMIUM_ADVICE =
  "install Chromium, or name one in SMALLKV_CHROMIUM, to get SVG and PNG";

/**
 * Looks for a Chromium: the one in `SMALLKV_CHROMIUM` or `CHROMIUM_PATH`, else one on the search path or in a
 * usual place.
 *
 * @returns Path of the program, or undefined.
 */
export async function findChromium(): Promise<string | undefined> {
  const chosen = process.env["SMALLKV_CHROMIUM"] || process.env["CHROMIUM_PATH"];
  if (chosen) return await isProgram(chosen) ? chosen : undefined;
  const folders = [...(process.env["PATH"] ?? "").split(delimiter).filter(Boolean), ...PLACES];
  for (const path of folders.flatMap((folder) => NAMES.map((name) => join(folder, name)))) {
    if (await isProgram(path)) return path;
  }
  return undefined;
}

/** Asks for the mode rather than by `access`, whose answer needs the permission to know the user. */
function isProgram(path: string): Promise<boolean> {
  const isExecutable = (mode: number) => process.platform === "win32" || (mode & 0o111) !== 0;
  return stat(path).then((found) => found.isFile() && isExecutable(found.mode), () => false);
}

/**
 * Starts a Chromium without a window.
 *
 * @param path Path of the program.
 * @param flags Further arguments.
 * @returns The browser; the caller closes it.
 */
export async function startChromium(
  path: string,
  flags: readonly string[] = [],
): Promise<Browser> {
  const { chromium } = await import("playwright-core");
  const isRoot = process.getuid?.() === 0; // its sandbox refuses root
  return await chromium.launch({
    executablePath: path,
    args: [...flags, ...(isRoot ? ["--no-sandbox"] : [])],
    timeout: 60_000,
  });
}
