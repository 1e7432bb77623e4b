/**
 * Finds and starts a Chromium, where there is one.
 *
 * @module
 */

import { access, constants } from "node:fs/promises";
import { delimiter, join } from "node:path";
import process from "node:process";
import type { Browser } from "playwright-core";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const PLACES = [
  "/usr/bin",
  "/usr/local/bin",
  "/snap/bin",
  "/Applications/Google Chrome.app/Contents/MacOS",
  "/Applications/Chromium.app/Contents/MacOS",
];
const LONG_NAMES = ["Google Chrome", "Chromium"];

/**
 * Looks for a Chromium: the one in `CHROMIUM_PATH`, else one on the search path or a usual place.
 *
 * @returns Path of the program, or nothing.
 */
export async function findChromium(): Promise<string | undefined> {
  const chosen = process.env["CHROMIUM_PATH"];
  if (chosen !== undefined && chosen !== "") {
    return await isProgram(chosen) ? chosen : undefined;
  }
  const folders = [...(process.env["PATH"] ?? "").split(delimiter).filter(Boolean), ...PLACES];
  for (const folder of folders) {
    for (const name of [...NAMES, ...LONG_NAMES]) {
      const path = join(folder, name);
      if (await isProgram(path)) return path;
    }
  }
  return undefined;
}

function isProgram(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(() => true, () => false);
}

/**
 * Starts a Chromium without a window.
 *
 * @param path Path of the program.
 * @returns The browser; the caller closes it.
 */
export async function startChromium(path: string): Promise<Browser> {
  const { chromium } = await import("playwright-core");
  const isRoot = process.getuid?.() === 0; // its sandbox refuses root
  return await chromium.launch({
    executablePath: path,
    args: isRoot ? ["--no-sandbox"] : [],
    timeout: 60_000,
  });
}
