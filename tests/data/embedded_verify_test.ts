/** The embedded pair is the published one. */

import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { fileURLToPath } from "node:url";
import { verifyEmbedded } from "../../data/embedded.ts";
import manifest from "../../data/embedded/manifest.json" with { type: "json" };
import { serveFolders } from "../support/file_server.ts";

Deno.test("verifyEmbedded() accepts the files of the repository", async () => {
  await verifyEmbedded("large");
  await verifyEmbedded("small");
});

Deno.test("verifyEmbedded() names a file that is not the published one, and both hashes", async () => {
  const { readFile } = Deno;
  const { bytes, sha256 } = manifest.files["small/config.json"];
  try {
    Deno.readFile = (path) => readFile(path).then((bytes) => bytes.fill(7, 0, 1));
    assertMatch(
      (await assertRejects(() => verifyEmbedded("small"), Error)).message,
      new RegExp(
        `small/config\\.json must have ${bytes} bytes and SHA-256 ${sha256}: current file has ${bytes} bytes and (?!${sha256})[0-9a-f]{64}$`,
      ),
    );
  } finally {
    Deno.readFile = readFile;
  }
});

Deno.test("embeddedPair() and verifyEmbedded() work in a module that comes from a server", async () => {
  const data = fileURLToPath(new URL("../../data", import.meta.url));
  const core = fileURLToPath(new URL("../../core", import.meta.url));
  await using server = serveFolders({ data, core });
  const module = `${server.address}/data/embedded.ts`;
  const program = `import { embeddedPair, verifyEmbedded } from ${JSON.stringify(module)};
    await verifyEmbedded("large");
    await verifyEmbedded("small");
    console.log(embeddedPair().large);`;
  const cache = await Deno.makeTempDir();
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-config", "--no-lock", "--allow-import", program],
    env: { DENO_DIR: cache, NO_COLOR: "1" },
  }).output();
  const text = new TextDecoder();
  assertEquals(
    text.decode(stdout),
    `${server.address}/data/embedded/large/\n`,
    text.decode(stderr),
  );
  await Deno.remove(cache, { recursive: true });
});
