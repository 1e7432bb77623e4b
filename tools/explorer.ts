/**
 * Serves the explorer on this machine and opens it, or builds it as a static site.
 *
 * @module
 */

import { bytesText } from "../cli/bytes_text.ts";
import { type Command, type CommandCall, type CommandIo, valueOption } from "../cli/command.ts";
import { EXIT } from "../cli/command_line.ts";
import { DataError } from "../core/check.ts";
import { serveSite } from "../explorer/serve_site.ts";
import { buildSite } from "../explorer/site.ts";
import { runTool } from "./run_tool.ts";
import { temporaryFolder } from "./temporary_folder.ts";

/** Programs that open an address in the user's browser. */
const OPENERS: Readonly<Record<string, readonly string[]>> = {
  darwin: ["open"],
  windows: ["cmd", "/c", "start", ""],
};

async function openBrowser(address: string): Promise<boolean> {
  const [program, ...args] = OPENERS[Deno.build.os] ?? ["xdg-open"];
  try {
    const command = new Deno.Command(program!, {
      args: [...args, address],
      stdout: "null",
      stderr: "null",
    });
    return (await command.output()).success;
  } catch {
    return false; // The address is printed anyway.
  }
}

async function build(folder: string, io: CommandIo): Promise<number> {
  const { paths, bytes } = await buildSite(folder);
  io.out(`Wrote ${paths.length} files with ${bytesText(bytes)} to ${folder}\n`);
  return EXIT.ok;
}

async function serve(call: CommandCall, io: CommandIo): Promise<number> {
  await using folder = await temporaryFolder();
  io.error("Bundling the page…\n");
  await buildSite(folder.path);
  const port = call.number("port", { min: 0, max: 65535, isInteger: true });
  await using server = startServer(folder.path, port);
  io.out(`The explorer is at ${server.address} (Ctrl-C ends it)\n`);
  if (!call.has("no-open")) await openBrowser(server.address);
  await Promise.race([
    server.finished,
    new Promise<void>((end) => io.signal.addEventListener("abort", () => end())),
  ]);
  return EXIT.ok;
}

function startServer(folder: string, port: number) {
  try {
    return serveSite(folder, { port });
  } catch (cause) {
    if (!(cause instanceof Deno.errors.AddrInUse)) throw cause;
    throw new DataError(
      `Cannot serve the explorer: --port must be free: current value is ${port}, which another program uses`,
      { cause },
    );
  }
}

const COMMAND: Command = {
  name: "explorer",
  summary: "Opens a page that shows attention, head matching and eviction live",
  options: {
    build: valueOption("FOLDER", "writes the page as a static site instead of serving it"),
    port: valueOption("N", "port on this machine; 0 takes any free one", "8300"),
    "no-open": { type: "boolean", text: "prints the address without opening a browser" },
  },
  notes: [
    "The page is served to this machine alone. A built site works below any path of any static host,",
    "and offline once it has been visited.",
  ],
  examples: [
    "deno task explorer",
    "deno task explorer --port 0 --no-open",
    "deno task explorer --build site",
  ],
  async run(call, io) {
    const folder = call.value("build");
    if (folder === undefined) return await serve(call, io);
    for (const other of ["port", "no-open"]) if (call.has(other)) call.exclude("build", other);
    return await build(folder, io);
  },
};

if (import.meta.main) await runTool(COMMAND);
