import { assertEquals, assertMatch } from "@std/assert";
import { fileURLToPath } from "node:url";

const launcher = fileURLToPath(new URL("../../tools/launch.ts", import.meta.url));

async function launch(...args: string[]): Promise<{ code: number; text: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", launcher, ...args],
    env: { NO_COLOR: "1" },
  }).output();
  const decoder = new TextDecoder();
  return { code, text: decoder.decode(stdout) + decoder.decode(stderr) };
}

Deno.test("launch.ts without a command ends with the code for wrong usage", async () => {
  const { code, text } = await launch();
  assertEquals(code, 2);
  assertMatch(text, /^Usage: /);
});

Deno.test("launch.ts passes arguments and the exit code of the command line on", async () => {
  const help = await launch("info", "--help");
  assertEquals(help.code, 0);
  assertMatch(help.text, /Usage: deno task info/);
  assertEquals((await launch("info", "--help", "--no-such-option")).code, help.code);
  assertEquals((await launch("no_such_command", "-h")).code, 2);
});
