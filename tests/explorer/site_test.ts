import { assert, assertEquals } from "@std/assert";
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
