/**
 * Every check of the project, one after the other; prints the output of those that fail.
 *
 * @module
 */

import { EXIT } from "../cli/command_line.ts";
import { runTool } from "./run_tool.ts";

/** A check and the arguments of `deno` that run it. */
interface Check {
  readonly name: string;
  readonly args: readonly string[];
}

function checks(entryPoints: readonly string[], isStatic: boolean): Check[] {
  const all: Check[] = [
    { name: "format", args: ["fmt", "--check"] },
    { name: "lint", args: ["lint"] },
    { name: "types", args: ["check", "."] },
    { name: "documentation", args: ["doc", "--lint", ...entryPoints] },
    { name: "indexes", args: ["run", "-A", "tools/index.ts", "--check"] },
    { name: "package", args: ["publish", "--dry-run", "--allow-dirty", "--no-check"] },
  ];
  if (!isStatic) all.push({ name: "tests", args: ["run", "-A", "tools/launch.ts", "test"] });
  return all;
}

async function runCheck({ name, args }: Check): Promise<boolean> {
  const start = performance.now();
  const command = new Deno.Command(Deno.execPath(), { args: [...args] });
  const { success, stdout, stderr } = await command.output();
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(`${success ? "ok    " : "FAILED"} ${name} (${seconds} s)`);
  if (!success) {
    await Deno.stdout.write(stdout);
    await Deno.stderr.write(stderr);
  }
  return success;
}

async function runChecks(isStatic: boolean): Promise<number> {
  const config = JSON.parse(await Deno.readTextFile("deno.json"));
  const entryPoints = Object.values<string>(config.exports);
  let failures = 0;
  for (const check of checks(entryPoints, isStatic)) {
    if (!await runCheck(check)) failures++;
  }
  return failures === 0 ? EXIT.ok : EXIT.failed;
}

if (import.meta.main) {
  await runTool({
    name: "ok",
    summary: "Runs every check of the project and prints the output of those that fail",
    options: { static: { type: "boolean", text: "leaves the tests out" } },
    examples: ["deno task ok", "deno task ok --static"],
    run: (call) => runChecks(call.has("static")),
  });
}
