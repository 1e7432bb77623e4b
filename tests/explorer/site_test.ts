import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { DataError } from "../../core/check.ts";
import { serveSite } from "../../explorer/serve_site.ts";
import { buildSite } from "../../explorer/site.ts";

Deno.test("buildSite() writes a site that needs nothing else, and serveSite() serves it below a path", async () => {
  const folder = await Deno.makeTempDir({ prefix: "smallkv-" });
  try {
    const { paths, bytes } = await buildSite(folder);
    assert(bytes < 8e6, `${bytes} bytes`);
    const text = (path: string) => Deno.readTextFile(`${folder}/${path}`);
    const scripts = paths.filter((path) => path.endsWith(".js"));
    for (const path of scripts) {
      const code = await text(path);
      for (const [, name] of code.matchAll(/(?:^|;)import(?:[\w*{][^"']*from)?"([^"]+)"/g)) {
        const target = new URL(name!, `file:///${path}`).pathname.slice(1);
        assert(name!.startsWith(".") && paths.includes(target), `${path} imports ${name}`);
      }
    }
    const page = await text("index.html");
    assert(!/(?:src|href)="(?:https?:)?\//.test(page), "every address is relative");
    const worker = await text("service_worker.js");
    const kept: string[] = JSON.parse(/SITE_FILES=(\[.*?\])/.exec(worker)![1]!);
    const own = paths.filter((path) => path.includes("/"));
    assertEquals(kept.toSorted(), ["./", ...own].sort());

    await using server = serveSite(folder, { port: 0, base: "/any/path/" });
    const ask = async (path: string) => {
      const response = await fetch(new URL(path, server.address));
      return [response.status, response.headers.get("content-type"), await response.text()];
    };
    assertEquals(await ask("./"), [200, "text/html; charset=utf-8", page]);
    assertEquals((await ask(own.find((path) => path.endsWith("page.css"))!))[0], 200);
    assertEquals((await ask("/"))[0], 404);
    assertEquals((await ask("..%2f..%2fetc%2fpasswd"))[0], 404);
    const again = await Deno.makeTempDir({ prefix: "smallkv-" });
    assertEquals((await buildSite(again)).paths.toSorted(), paths.toSorted(), "names are stable");
    await Deno.remove(again, { recursive: true });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("buildSite() removes what an earlier build wrote, and nothing else", async () => {
  const folder = await Deno.makeTempDir({ prefix: "smallkv-" });
  const has = (path: string) => Deno.stat(`${folder}/${path}`).then(() => true, () => false);
  const write = async (path: string) => {
    await Deno.mkdir(`${folder}/${path.slice(0, path.lastIndexOf("/"))}`, { recursive: true });
    await Deno.writeTextFile(`${folder}/${path}`, "old");
  };
  try {
    const [old, other] = ["0123456789abcdef", "fedcba9876543210"];
    const left = [`${other}/page.css`, `${old}/page/mine.txt`, "notes/mine.txt", "outside.txt"];
    const gone = [`${old}/page.css`, `${old}/page/main.js`, `${old}/embedded/large/config.json`];
    for (const path of [...left, ...gone]) await write(path);
    const listed = ["./", ...gone, `${old}/missing.js`, "outside.txt", `${old}/../notes/mine.txt`];
    await Deno.writeTextFile(
      `${folder}/service_worker.js`,
      `const SITE_FILES=${JSON.stringify(listed)},SITE_VERSION="${old}";`,
    );
    const { paths } = await buildSite(folder);
    assertEquals(await Promise.all(gone.map(has)), [false, false, false]);
    assertEquals(await Promise.all(left.map(has)), [true, true, true, true]);
    assertEquals([await has(`${old}/embedded`), await has(`${old}/page`)], [false, true]);
    // A build over itself keeps all of its files.
    await buildSite(folder);
    assertEquals(await Promise.all(paths.map(has)), paths.map(() => true));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("buildSite() that cannot write says so, and leaves the earlier site and nothing of its own", async () => {
  const folder = await Deno.makeTempDir({ prefix: "smallkv-" });
  try {
    await Deno.writeTextFile(`${folder}/file`, "");
    const error = await assertRejects(() => buildSite(`${folder}/file`), DataError);
    assertMatch(error.message, /^Cannot make folder .*: every part of the path/);
    await Deno.writeTextFile(`${folder}/service_worker.js`, "old");
    // What stands in the way of the page comes after all that the page needs.
    await Deno.mkdir(`${folder}/index.html`);
    await assertRejects(() => buildSite(folder), DataError, "must not be a folder");
    const left = (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name);
    assertEquals(left.sort(), ["file", "index.html", "service_worker.js"]);
    assertEquals(await Deno.readTextFile(`${folder}/service_worker.js`), "old");
    // The worker is the last file; the page is there already.
    await Deno.remove(`${folder}/index.html`);
    for (const page of [undefined, "old page"]) {
      await Deno.remove(`${folder}/service_worker.js`, { recursive: true });
      await Deno.mkdir(`${folder}/service_worker.js`);
      if (page) await Deno.writeTextFile(`${folder}/index.html`, page);
      await assertRejects(() => buildSite(folder), DataError, "must not be a folder");
      const names = (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name);
      assertEquals(names.sort(), ["file", ...page ? ["index.html"] : [], "service_worker.js"]);
      if (page) assertEquals(await Deno.readTextFile(`${folder}/index.html`), page);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
