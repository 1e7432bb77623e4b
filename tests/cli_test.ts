import { assert, assertEquals, assertMatch } from "@std/assert";
import { fileURLToPath } from "node:url";
import { serveFolders } from "./support/file_server.ts";

const ROOT = fileURLToPath(new URL("../", import.meta.url));

/** Runs the command line from an address, as a registry serves it, in another folder than the project's. */
async function runFrom(address: string, ...words: string[]) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-lock", "--config", `${ROOT}deno.json`, address, ...words],
    cwd: await Deno.makeTempDir(),
    env: { NO_COLOR: "1" },
  }).output();
  const decoder = new TextDecoder();
  return { code, out: decoder.decode(stdout), error: decoder.decode(stderr) };
}

Deno.test("the command line runs from an address, with the embedded pair from there", async () => {
  const { exports } = JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`));
  assertEquals(exports["./cli"], "./cli.ts");
  await using server = serveFolders({ lab: ROOT });
  const address = `${server.address}/lab/cli.ts`;
  const help = await runFrom(address, "generate", "--help");
  assertEquals(help.code, 0, help.error);
  assertMatch(help.out, /--policy/);
  const run = await runFrom(address, "generate", "--max-new", "2", "--device", "reference");
  assertEquals(run.code, 0, run.error);
  assert(run.out.trim().length > 0);
});
