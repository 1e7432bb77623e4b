/**
 * Times llama.cpp, through `node-llama-cpp`, on the same file and machine.
 *
 * The package is put into the cache folder with npm, since only this benchmark needs it.
 *
 * @module
 */

import type { SpeedFigures, SpeedShape } from "./figures.ts";

const VERSION = "3.22.1";

/** Longest time a peer may take. */
const LIMIT_MS = 20 * 60_000;

/** Where llama.cpp computes. */
export type PeerDevice = "vulkan" | "cpu";

/** Folder that holds the package; installs it where it is missing. */
async function packageFolder(): Promise<string> {
  const home = Deno.env.get("HOME") ?? Deno.env.get("USERPROFILE") ?? ".";
  const folder = `${home}/.cache/smallkv/peers/node-llama-cpp-${VERSION}`;
  if (await isInstalled(folder)) return folder;
  await Deno.mkdir(folder, { recursive: true });
  const { os, arch } = Deno.build;
  const platform = `${os}-${arch === "x86_64" ? "x64" : "arm64"}`;
  const names = [platform, `${platform}-vulkan`].map((name) =>
    `@node-llama-cpp/${name}@${VERSION}`
  );
  const { success, stderr } = await new Deno.Command("npm", {
    args: ["install", "--prefix", folder, "--omit=optional", "--ignore-scripts", "--no-audit"]
      .concat("--no-fund", "--silent", `node-llama-cpp@${VERSION}`, names),
  }).output();
  if (success) return folder;
  throw new Error(`npm cannot install node-llama-cpp: ${new TextDecoder().decode(stderr).trim()}`);
}

async function isInstalled(folder: string): Promise<boolean> {
  try {
    return (await Deno.stat(`${folder}/node_modules/node-llama-cpp/package.json`)).isFile;
  } catch {
    return false;
  }
}

/**
 * Times llama.cpp in a process of its own.
 *
 * @param device Where it computes; `vulkan` takes the first adapter, software or not.
 * @param shape Sizes of the run.
 * @returns Times of each repetition after a warm-up.
 */
export async function benchPeer(device: PeerDevice, shape: SpeedShape): Promise<SpeedFigures> {
  const module = `${await packageFolder()}/node_modules/node-llama-cpp/dist/index.js`;
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-config", "--no-lock", "--node-modules-dir=manual"]
      .concat(
        `${import.meta.dirname}/peer_process.ts`,
        JSON.stringify({ ...shape, module, device }),
      ),
    env: { GGML_VK_VISIBLE_DEVICES: "0" },
    signal: AbortSignal.timeout(LIMIT_MS),
  }).output();
  const lastLine = new TextDecoder().decode(stdout).trim().split("\n").at(-1) ?? "";
  if (success && lastLine.startsWith("{")) return JSON.parse(lastLine);
  const reason = new TextDecoder().decode(stderr).trim().split("\n").slice(-3).join(" ");
  throw new Error(`llama.cpp on ${device} ended without figures: ${reason}`);
}
