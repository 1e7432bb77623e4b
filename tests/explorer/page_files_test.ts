import { assertEquals } from "@std/assert";
import { PageFiles } from "../../explorer/engine/page_files.ts";

const passed: string[] = [];
const next = ((input: string) => {
  passed.push(input);
  return Promise.resolve(new Response("other"));
}) as typeof fetch;

Deno.test("PageFiles answers for its files, whole or in ranges, and for nothing else", async () => {
  const files = new PageFiles();
  const address = files.add("large/a model.gguf", new Blob(["0123456789"]));
  const ask = files.serve(next);
  assertEquals(await (await ask(address)).text(), "0123456789");
  const part = await ask(address, { headers: { range: "bytes=2-4" } });
  assertEquals([part.status, part.headers.get("content-range"), await part.text()], [
    206,
    "bytes 2-4/10",
    "234",
  ]);
  const end = await ask(address, { headers: { range: "bytes=8-20" } });
  assertEquals(end.headers.get("content-range"), "bytes 8-9/10");
  assertEquals((await ask(address, { headers: { range: "bytes=10-11" } })).status, 416);
  assertEquals((await ask(address + "x")).status, 404);
  assertEquals(await (await ask("https://example.com/")).text(), "other");
  assertEquals(passed, ["https://example.com/"]);
  assertEquals(files.named(`Cannot read ${address}: why`), "Cannot read large/a model.gguf: why");
});
