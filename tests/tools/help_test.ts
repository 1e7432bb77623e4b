/**
 * Every task of the project explains itself.
 *
 * @module
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import configuration from "../../deno.json" with { type: "json" };

const root = new URL("../../", import.meta.url);

async function task(...words: string[]): Promise<{ code: number; out: string; error: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["task", "--quiet", ...words],
    cwd: root,
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, out: text(stdout), error: text(stderr) };
}

for (const name of Object.keys(configuration.tasks)) {
  Deno.test(`deno task ${name} --help explains the task and runs nothing`, async () => {
    const { code, out, error } = await task(name, "--help");
    assertEquals(code, 0, error);
    assertMatch(out, /^usage: /im);
    assert(out.includes(`deno task ${name}`) || name === "test", out);
  });
}

Deno.test("tools of the repository refuse mistyped options as commands do", async () => {
  for (const [name, word] of [["ok", "--statc"], ["index", "--chek"], ["notebooks", "--updat"]]) {
    const { code, error } = await task(name!, word!);
    assertEquals(code, 2);
    assertMatch(error, new RegExp(`^Cannot run ${name}: .*; did you mean --\\w+\\?`));
  }
});
