/**
 * Shows the Vulkan drivers of this machine, or installs a newer one.
 *
 *     deno task driver [--backports]
 *
 * @module
 */

import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { EXIT } from "../cli/command_line.ts";
import type { CommandIo } from "../cli/command.ts";
import { aptGet, driverEnvironment } from "./adapter.ts";
import {
  type BackportsHost,
  debianSuite,
  installBackports,
  OFFER,
  OLD_SUITE,
} from "./backports.ts";
import { findDrivers } from "./drivers.ts";
import { runTool } from "./run_tool.ts";
import { temporaryFolder } from "./temporary_folder.ts";

const COMMAND = {
  name: "driver",
  summary: "Shows the Vulkan drivers of this machine, or installs a newer one",
  options: {
    backports: {
      type: "boolean",
      text: "installs Mesa from Debian's backports, on Debian 12 and as root",
    },
  },
  examples: ["deno task driver", "deno task driver --backports"],
  async run(call: { has(name: "backports"): boolean }, io: CommandIo): Promise<number> {
    if (call.has("backports") && !await installBackports(localHost(io))) return EXIT.failed;
    return await showDrivers(io);
  },
} as const;

/** Prints a line per device; the offer of a newer driver only where there is one. */
async function showDrivers(io: CommandIo): Promise<number> {
  await using folder = await temporaryFolder();
  const drivers = await findDrivers(driverEnvironment(folder.path));
  for (const { device, driver } of drivers) io.out(`${device}  ${driver || "unknown version"}\n`);
  if (drivers.length === 0) io.out("Vulkan finds no device\n");
  const isOld = drivers.some(({ driver }) => /\bMesa 2[0-4]\./.test(driver));
  if (isOld && debianSuite() === OLD_SUITE) io.error(`${OFFER}\n`);
  return EXIT.ok;
}

function localHost(io: CommandIo): BackportsHost {
  return {
    isRoot: Deno.build.os === "linux" && Deno.uid() === 0,
    suite: existsSync("/usr/bin/apt-get") ? debianSuite() : "",
    mayInstall: Deno.env.get("SMALLKV_INSTALL") !== "0",
    async knowsBackports() {
      const { stdout } = await new Deno.Command("apt-cache", { args: ["policy"] }).output();
      return new TextDecoder().decode(stdout).includes(`${OLD_SUITE}-backports`);
    },
    addSource: (path, text) => writeFile(path, text),
    aptGet: (args) => aptGet(args, { DEBIAN_FRONTEND: "noninteractive" }),
    say: (line) => io.error(`${line}\n`),
  };
}

if (import.meta.main) await runTool(COMMAND);
