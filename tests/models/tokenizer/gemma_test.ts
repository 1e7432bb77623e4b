/**
 * The tokenizer of Gemma 3, from GGUF metadata.
 *
 * @module
 */

import { assertEquals, assertStrictEquals } from "@std/assert";
import { createHash } from "node:crypto";
import { openGguf } from "../../../models/gguf/gguf.ts";
import {
  createTokenizer,
  type Tokenizer,
  tokenizerFromGguf,
} from "../../../models/tokenizer/tokenizer.ts";
import writtenLines from "../../fixtures/tokenizer/lines.json" with { type: "json" };
import dataLines from "../../fixtures/tokenizer/data_lines.json" with { type: "json" };
import gemma from "../../fixtures/tokenizer/gemma.json" with { type: "json" };
import { realModel } from "../../support/real_models.ts";

const path = realModel("gemma-3-270m-q4_k_m.gguf");
const dataFolder = Deno.env.get("SMALLKV_DATA");

async function tokenizerOfFile(): Promise<Tokenizer> {
  await using file = await openGguf(path!);
  return createTokenizer(tokenizerFromGguf(file.metadata));
}

Deno.test({
  name:
    "encode() gives the ids of SentencePiece for Gemma 3, and those of transformers but for long runs of spaces",
  ignore: path === undefined,
  async fn() {
    const tokenizer = await tokenizerOfFile();
    writtenLines.forEach((line, i) => {
      const ids = tokenizer.encode(line);
      assertEquals(ids, [2, ...gemma.pieces[i]!], JSON.stringify(line));
      assertStrictEquals(tokenizer.decode(ids, { skipSpecialTokens: true }), line);
      // SentencePiece takes the longest run of spaces that is a piece; transformers joins 16 at most.
      if (!line.includes(" ".repeat(32))) assertEquals(ids, gemma.own[i], JSON.stringify(line));
    });
  },
});

Deno.test({
  name: "encode() gives the ids of transformers for Gemma 3 on 1,000 data lines",
  ignore: path === undefined || dataFolder === undefined,
  async fn() {
    const tokenizer = await tokenizerOfFile();
    const texts = new Map<string, string[]>();
    for (const [index, row] of dataLines.rows.entries()) {
      const [file, number] = row as [string, number];
      if (!texts.has(file)) {
        texts.set(file, (await Deno.readTextFile(`${dataFolder}/${file}`)).split("\n"));
      }
      const line = texts.get(file)![number]!;
      const ids = tokenizer.encode(line);
      const hash = createHash("sha256").update(ids.join()).digest("hex").slice(0, 16);
      assertStrictEquals(hash, gemma.data[index], `${file}, line ${number}`);
      assertStrictEquals(tokenizer.decode(ids, { skipSpecialTokens: true }), line);
    }
  },
});
