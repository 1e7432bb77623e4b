import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import {
  lstat,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  rm,
  symlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  createAtomicFile,
  ensureFolder,
  removeUnfinished,
  writeFileAtomic,
} from "../../core/atomic_file.ts";
import { DataError } from "../../core/check.ts";

async function withFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "atomic-"));
  try {
    await test(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Opens files that take `limit` bytes, then fail like a full disk. */
function fullDisk(limit: number) {
  return async (path: string) => {
    const file = await open(path, "wx");
    let left = limit;
    return {
      async write(bytes: Uint8Array, offset = 0, length = bytes.length) {
        if (left === 0) throw Object.assign(new Error("no space"), { code: "ENOSPC" });
        const part = Math.min(left, length, 7);
        left -= part;
        return await file.write(bytes, offset, part);
      },
      sync: () => file.sync(),
      close: () => file.close(),
      // deno-lint-ignore no-explicit-any
    } as any;
  };
}

Deno.test("writeFileAtomic() makes folders and replaces a file", () =>
  withFolder(async (folder) => {
    const path = join(folder, "a", "b", "file.json");
    await writeFileAtomic(path, "first");
    await writeFileAtomic(path, new Uint8Array([50, 51]));
    assertEquals(await readFile(path, "utf8"), "23");
    assertEquals(await readdir(join(folder, "a", "b")), ["file.json"]);
  }));

Deno.test("writeFileAtomic() replaces what a link names, and keeps the link", () =>
  withFolder(async (folder) => {
    await mkdir(join(folder, "disk"));
    const [path, target] = [join(folder, "link"), join(folder, "disk", "file")];
    await writeFile(target, "old");
    await symlink(target, path);
    await writeFileAtomic(path, "new");
    assertEquals((await lstat(path)).isSymbolicLink(), true);
    assertEquals(await readFile(target, "utf8"), "new");
    assertEquals(await readdir(join(folder, "disk")), ["file"]);
  }));

Deno.test("createAtomicFile() refuses a folder, a pipe and a device, and leaves them as they are", () =>
  withFolder(async (folder) => {
    const pipe = join(folder, "pipe");
    const kinds = { [folder]: "EISDIR" };
    if (Deno.build.os !== "windows") {
      await new Deno.Command("mkfifo", { args: [pipe] }).output();
      // A link, so that a fault replaces that and not the device of the machine.
      const device = join(folder, "device");
      await symlink("/dev/null", device);
      Object.assign(kinds, { [pipe]: "a pipe", [device]: "a device" });
    }
    for (const [path, kind] of Object.entries(kinds)) {
      const error = await assertRejects(() => createAtomicFile(path), DataError);
      assertMatch(error.message, new RegExp(`^Cannot write ${path}: .*: current .* is ${kind}$`));
    }
    assertEquals((await readdir(folder)).filter((name) => name.includes("unfinished")), []);
  }));

Deno.test("createAtomicFile() shows nothing before commit and nothing after disposal", () =>
  withFolder(async (folder) => {
    const path = join(folder, "file");
    {
      await using file = await createAtomicFile(path);
      await file.write(new Uint8Array(10));
      assertEquals((await readdir(folder)).includes("file"), false);
    }
    assertEquals(await readdir(folder), []);
  }));

Deno.test("writeFileAtomic() keeps the old file and leaves no trace when the disk is full", () =>
  withFolder(async (folder) => {
    const path = join(folder, "file");
    await writeFileAtomic(path, "old");
    const error = await assertRejects(
      () => writeFileAtomic(path, "x".repeat(100), { open: fullDisk(20) }),
      DataError,
    );
    assertEquals(
      error.message,
      `Cannot write ${path}: the disk must have free space: current error is ENOSPC`,
    );
    assertEquals(await readFile(path, "utf8"), "old");
    assertEquals(await readdir(folder), ["file"]);
  }));

Deno.test("writeFileAtomic() continues after short writes", () =>
  withFolder(async (folder) => {
    const path = join(folder, "file");
    await writeFileAtomic(path, "a longer text", { open: fullDisk(100) });
    assertEquals(await readFile(path, "utf8"), "a longer text");
  }));

Deno.test("writeFileAtomic() names the path and what is wrong with it", () =>
  withFolder(async (folder) => {
    await writeFile(join(folder, "file"), "");
    await mkdir(join(folder, "taken"));
    assertMatch(
      String(await assertRejects(() => writeFileAtomic(join(folder, "file", "inner"), ""), Error)),
      /^DataError: Cannot make folder .*file: every part of the path must be a folder: current .* EEXIST/,
    );
    assertMatch(
      String(await assertRejects(() => writeFileAtomic(join(folder, "taken"), ""), Error)),
      /^DataError: Cannot write .*taken: the path must not be a folder: current error is EISDIR/,
    );
    assertEquals((await readdir(folder)).sort(), ["file", "taken"]);
  }));

Deno.test("ensureFolder() says that a folder must be writable", async () => {
  // Not even root may make folders there.
  if (Deno.build.os !== "linux") return;
  assertMatch(
    String(await assertRejects(() => ensureFolder("/proc/nowhere/inner"), Error)),
    /^DataError: Cannot make folder/,
  );
});

Deno.test("removeUnfinished() removes what ended processes left and nothing else", () =>
  withFolder(async (folder) => {
    const ended = new Deno.Command(Deno.execPath(), { args: ["--version"], stdout: "null" })
      .spawn();
    await ended.status;
    const names = [
      `.a.json.${ended.pid}-1.unfinished`,
      `.b.json.${ended.pid}-22.unfinished`,
      `.a.json.${Deno.pid}-3.unfinished`,
      ".a.json.unfinished",
      "a.json",
    ];
    for (const name of names) await writeFile(join(folder, name), "");
    await removeUnfinished(folder, "a.json");
    assertEquals((await readdir(folder)).sort(), names.slice(1).sort());
    const held = `.c.json.${ended.pid}-4.unfinished`;
    await writeFile(join(folder, held), "");
    {
      using writer = await Deno.open(join(folder, held), { write: true });
      await writer.lock(true);
      await removeUnfinished(folder);
      assertEquals((await readdir(folder)).sort(), [...names.slice(2), held].sort());
    }
    await removeUnfinished(folder);
    assertEquals((await readdir(folder)).sort(), names.slice(2).sort());
    await removeUnfinished(join(folder, "missing"));
  }));

Deno.test("writeFileAtomic() lets several processes write one file at a time", () =>
  withFolder(async (folder) => {
    const module = import.meta.resolve("../../core/atomic_file.ts");
    const code = `import { writeFileAtomic } from "${module}";
      for (let i = 0; i < 200; i++) await writeFileAtomic(Deno.args[0], "whole");`;
    const run = () =>
      new Deno.Command(Deno.execPath(), { args: ["eval", code, join(folder, "file")] }).output();
    const outputs = await Promise.all([run(), run(), run()]);
    for (const { success, stderr } of outputs) {
      assertEquals([success, new TextDecoder().decode(stderr)], [true, ""]);
    }
    assertEquals(await readdir(folder), ["file"]);
    assertEquals(await readFile(join(folder, "file"), "utf8"), "whole");
  }));
