import { assertMatch, assertRejects } from "@std/assert";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { lockFolder } from "../../core/folder_lock.ts";

async function withFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "lock-"));
  try {
    await test(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

Deno.test("lockFolder() lets one run in at a time", () =>
  withFolder(async (folder) => {
    const inner = join(folder, "new");
    {
      await using _lock = await lockFolder(inner);
      assertMatch(
        String(await assertRejects(() => lockFolder(inner), Error)),
        new RegExp(`^DataError: Cannot use .*: current user is process ${Deno.pid}$`),
      );
    }
    await using _again = await lockFolder(inner);
  }));

Deno.test("lockFolder() says when the folder cannot be used", () =>
  withFolder(async (folder) => {
    await writeFile(join(folder, "file"), "");
    assertMatch(
      String(await assertRejects(() => lockFolder(join(folder, "file")), Error)),
      /^DataError: Cannot make folder/,
    );
    await mkdir(join(folder, "taken", "lock"), { recursive: true });
    assertMatch(
      String(await assertRejects(() => lockFolder(join(folder, "taken")), Error)),
      /^DataError: Cannot write .*lock/,
    );
  }));
