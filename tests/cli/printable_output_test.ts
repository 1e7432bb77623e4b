/**
 * What reaches a terminal of what files contain.
 *
 * @module
 */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { fileURLToPath } from "node:url";
import { temporaryFolder } from "../support/model_writer.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const TEXT = "a\x1b[2J\x9bb\n";
const CODE = `import { openProcessIo } from "${import.meta.resolve("../../cli/process_io.ts")}";
  const { io } = openProcessIo();
  io.out("a\\x1b[2J\\x9bb\\n");
  io.error("e\\x1b[2J\\n");
  Deno.exit(0);`;

async function outputOf(program: string, args: string[]): Promise<{ out: string; error: string }> {
  const command = new Deno.Command(program, { args, env: { NO_COLOR: "1" }, stdin: "null" });
  const { stdout, stderr } = await command.output();
  return { out: new TextDecoder().decode(stdout), error: new TextDecoder().decode(stderr) };
}

Deno.test("results keep their bytes in a pipe, and messages have no control characters", async () => {
  const { out, error } = await outputOf(Deno.execPath(), ["eval", CODE]);
  assertEquals([out, error], [TEXT, "e\\u001b[2J\n"]);
});

Deno.test({
  name: "results have no control characters on a terminal",
  ignore: Deno.build.os !== "linux",
  async fn() {
    await using folder = await temporaryFolder();
    await Deno.writeTextFile(`${folder.path}/code.ts`, CODE);
    const command = `'${Deno.execPath()}' run -A '${folder.path}/code.ts'`;
    const { out } = await outputOf("script", ["-qec", command, "/dev/null"]);
    assertEquals(out.replaceAll("\r\n", "\n"), "a\\u001b[2J\\u009bb\ne\\u001b[2J\n");
  },
});

Deno.test("a command shows what its files are called and contain", async () => {
  await using folder = await temporaryFolder();
  await Deno.writeTextFile(`${folder.path}/config.json`, '{"model_type": "\\u001b[31m\\u202e"}');
  await Deno.writeTextFile(`${folder.path}/a\x1b]0;title\x07.txt`, "");
  const cli = ["run", "-A", `${ROOT}cli.ts`, "info"];
  const listed = await outputOf(Deno.execPath(), [...cli, folder.path]);
  assertStringIncludes(listed.error, "a\\u001b]0;title\\u0007.txt");
  await Deno.writeTextFile(`${folder.path}/model.safetensors`, "");
  const named = await outputOf(Deno.execPath(), [...cli, folder.path]);
  assertStringIncludes(named.error, "\\u001b[31m\\u202e");
  assertEquals(/[^\P{Cc}\n]/u.test(listed.error + named.error), false);
});
