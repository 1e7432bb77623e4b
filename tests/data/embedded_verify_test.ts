/** The embedded pair is the published one. */

import { rejects } from "node:assert/strict";
import { verifyEmbedded } from "../../data/embedded.ts";

Deno.test("verifyEmbedded() accepts the files of the repository", async () => {
  await verifyEmbedded("large");
  await verifyEmbedded("small");
});

Deno.test("verifyEmbedded() names a file that is not the published one, and both hashes", async () => {
  const { readFile } = Deno;
  try {
    Deno.readFile = (path) => readFile(path).then((bytes) => bytes.fill(7, 0, 1));
    await rejects(
      verifyEmbedded("small"),
      /small\/config\.json must have 811 bytes and SHA-256 f8543d67[0-9a-f]+: current file has 811 bytes and [0-9a-f]{64}$/,
    );
  } finally {
    Deno.readFile = readFile;
  }
});
