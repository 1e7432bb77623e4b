import { assertEquals } from "@std/assert";
import { temporaryFolder } from "../../tools/temporary_folder.ts";

const module = new URL("../../tools/temporary_folder.ts", import.meta.url).href;

Deno.test("temporaryFolder() removes what a killed process left, and nothing that is in use", async () => {
  const root = await Deno.makeTempDir();
  const names = async () => (await Array.fromAsync(Deno.readDir(root))).map(({ name }) => name);
  const before = Deno.env.get("TMPDIR");
  try {
    Deno.env.set("TMPDIR", root);
    const source = `import { temporaryFolder } from "${module}";
      await temporaryFolder();
      Deno.kill(Deno.pid, "SIGKILL");`;
    await Deno.writeTextFile(`${root}/killed.ts`, source);
    await new Deno.Command(Deno.execPath(), { args: ["run", "-A", `${root}/killed.ts`] }).output();
    assertEquals((await names()).length, 2);
    {
      await using used = await temporaryFolder();
      await using _second = await temporaryFolder();
      assertEquals((await names()).length, 3);
      assertEquals((await Deno.stat(used.path)).isDirectory, true);
    }
    assertEquals(await names(), ["killed.ts"]);
  } finally {
    if (before === undefined) Deno.env.delete("TMPDIR");
    else Deno.env.set("TMPDIR", before);
    await Deno.remove(root, { recursive: true });
  }
});
