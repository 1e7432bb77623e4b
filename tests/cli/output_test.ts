/**
 * Output that cannot be written.
 *
 * @module
 */

import { assertEquals, assertMatch } from "@std/assert";

const CLI = new URL("../../cli.ts", import.meta.url).pathname;

async function shell(rest: string): Promise<{ code: number; out: string; error: string }> {
  const command = `"$DENO" run -A --no-check "$CLI" ${rest}`;
  const { code, stdout, stderr } = await new Deno.Command("bash", {
    args: ["-o", "pipefail", "-c", command],
    env: { DENO: Deno.execPath(), CLI },
    stdin: "null",
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, out: text(stdout), error: text(stderr) };
}

const options = { ignore: Deno.build.os !== "linux" };

Deno.test("a full disk ends a command with 1", options, async () => {
  for (const words of ["info --device reference", "generate --help"]) {
    const { code, error } = await shell(`${words} > /dev/full`);
    assertEquals(code, 1, error);
    assertMatch(error, /Cannot write results: standard output must take them: .*[Nn]o space left/);
  }
});

Deno.test("a reader that has enough is no error, and nor are lost messages", options, async () => {
  const help = await shell("generate --help | head -n 1");
  assertEquals([help.code, help.error], [0, ""]);
  assertMatch(help.out, /^Continues a prompt/);
  assertEquals((await shell("info --device reference 2> /dev/full")).code, 0);
});
