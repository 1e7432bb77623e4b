import { assertEquals } from "@std/assert";
import { pathToFileURL } from "node:url";
import { checkoutCommit } from "../../../experiments/runner/commit.ts";

const [A, B] = ["a".repeat(40), "b".repeat(40)];

Deno.test("checkoutCommit() follows a branch, packed or not, a detached head and a worktree", async () => {
  const root = await Deno.makeTempDir();
  try {
    const write = async (path: string, text: string) => {
      await Deno.mkdir(`${root}/${path}`.replace(/\/[^/]*$/, ""), { recursive: true });
      await Deno.writeTextFile(`${root}/${path}`, text);
    };
    const commit = (folder = "") => checkoutCommit(pathToFileURL(`${root}/${folder}`));
    assertEquals(commit(), undefined);
    await write(".git/HEAD", "ref: refs/heads/main\n");
    assertEquals(commit(), undefined);
    await write(".git/packed-refs", `# pack-refs\n${B} refs/heads/other\n${A} refs/heads/main\n`);
    assertEquals(commit(), A);
    await write(".git/refs/heads/main", `${B}\n`);
    assertEquals(commit(), B);
    await write("linked/.git", `gitdir: ${root}/.git/worktrees/linked\n`);
    await write(".git/worktrees/linked/HEAD", "ref: refs/heads/side\n");
    await write(".git/worktrees/linked/commondir", "../..\n");
    await write(".git/refs/heads/side", `${A}\n`);
    assertEquals(commit("linked"), A);
    await write(".git/HEAD", `${A}\n`);
    assertEquals(commit(), A);
    assertEquals(checkoutCommit(new URL("https://example.org/lab/")), undefined);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
