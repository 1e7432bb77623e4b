/**
 * Finds the NATS server that tests of the queue start, or gets it from Debian.
 *
 * @module
 */

import { existsSync } from "node:fs";
import { mkdir, rename } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { temporaryFolder } from "./temporary_folder.ts";

const NAME = "nats-server";
/** Where it is kept if it was fetched. */
const KEPT = join(import.meta.dirname!, "../node_modules/.cache", NAME);

/** Path of the program; undefined if there is none. */
export function findNatsServer(): string | undefined {
  const folders = [...(Deno.env.get("PATH") ?? "").split(delimiter), "/usr/sbin"];
  return [...folders.map((folder) => join(folder, NAME)), KEPT].find((path) => existsSync(path));
}

/**
 * Finds the program, or fetches Debian's package and unpacks it. It is not installed, which would start a service.
 *
 * @param mayFetch Whether it may be fetched.
 * @param say Prints one line for the user.
 */
export async function ensureNatsServer(
  mayFetch: boolean,
  say: (line: string) => void,
): Promise<string | undefined> {
  const found = findNatsServer();
  if (found !== undefined || !mayFetch || !existsSync("/usr/bin/apt-get")) return found;
  say(`No ${NAME} was found: fetching Debian's`);
  await using folder = await temporaryFolder();
  const run = async (program: string, ...args: string[]) =>
    (await new Deno.Command(program, { args, cwd: folder.path, stdout: "null", stderr: "null" })
      .output()).success;
  const isFetched = await run("apt-get", "download", NAME) ||
    Deno.uid() === 0 && await run("apt-get", "update") && await run("apt-get", "download", NAME);
  const packed = [...Deno.readDirSync(folder.path)].find(({ name }) => name.endsWith(".deb"));
  if (!isFetched || !packed || !await run("dpkg-deb", "-x", packed.name, "unpacked")) {
    say(`Cannot fetch ${NAME}; tests of the queue are skipped`);
    return undefined;
  }
  await mkdir(join(KEPT, ".."), { recursive: true });
  const unpacked = join(folder.path, "unpacked/usr/sbin", NAME);
  await Deno.copyFile(unpacked, `${KEPT}.part`);
  await rename(`${KEPT}.part`, KEPT);
  return KEPT;
}
