/**
 * Tests of `models/files/http.ts`, and of files at addresses: what a server may send, and how long it may take.
 *
 * @module
 */

import { assertEquals, assertRejects } from "@std/assert";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { DataError } from "../../../core/check.ts";
import { ConnectionError, request } from "../../../models/files/http.ts";
import { openRangedFile, readTextIfThere } from "../../../models/files/ranged_file.ts";
import { locateModel } from "../../../models/files/model_location.ts";

/** Runs a test with a server on a free port. */
async function withServer(
  answer: (request: Request) => Response | Promise<Response>,
  work: (address: string) => Promise<unknown>,
): Promise<void> {
  await using server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, answer);
  await work(`http://127.0.0.1:${server.addr.port}/file?key=secret`);
}

/** A body of `size` bytes at a time that ends after `count` of them. */
function body(size: number, delayMs: number, count = Infinity): ReadableStream<Uint8Array> {
  return new ReadableStream({
    async pull(controller) {
      if (delayMs > 0) await new Promise((done) => setTimeout(done, delayMs));
      if (count-- <= 0) return controller.close();
      controller.enqueue(new Uint8Array(size).fill(32));
    },
  });
}

/** Collects garbage, whereupon Deno forgets the signal of a request whose body is being read. */
async function collectGarbage(): Promise<void> {
  setFlagsFromString("--expose-gc");
  const collect: () => void = runInNewContext("gc");
  for (let run = 0; run < 3; run++) {
    collect();
    await new Promise((done) => setTimeout(done, 5));
  }
}

Deno.test("a body is ended by its reader and by its signal, whatever garbage was collected", async () => {
  for (const how of ["reader", "signal", "cancel"] as const) {
    const ended = Promise.withResolvers<string>();
    const endless = new ReadableStream({
      async pull(controller) {
        await new Promise((done) => setTimeout(done, 10));
        controller.enqueue(new Uint8Array(1000));
      },
      cancel: () => ended.resolve("ended"),
    });
    await withServer(() => new Response(endless), async (address) => {
      const stop = new AbortController();
      const answer = await request(address, { signal: stop.signal });
      const pieces = answer.pieces(1e6);
      if (how !== "cancel") await pieces.next();
      await collectGarbage();
      if (how === "reader") await pieces.return(undefined);
      if (how === "cancel") answer.cancel();
      if (how === "signal") {
        stop.abort(new Error("stopped"));
        await assertRejects(() => pieces.next(), Error, "stopped");
      }
      const timer = setTimeout(() => ended.resolve("goes on"), 5000);
      assertEquals(await ended.promise, "ended", how);
      clearTimeout(timer);
    });
  }
});

Deno.test("request() ends a body that goes on too slowly, though never silent", async () => {
  await withServer(() => new Response(body(1, 20)), async (address) => {
    const begin = performance.now();
    const answer = await request(address, { silenceMs: 100 });
    const error = await assertRejects(() => answer.bytes(1e6), ConnectionError, "only ");
    assertEquals(error.message.includes("secret"), false);
    assertEquals(performance.now() - begin < 3000, true);
  });
});

Deno.test("request() lets a body go on as long as bytes arrive", async () => {
  await withServer(() => new Response(body(20_000, 30, 30)), async (address) => {
    const answer = await request(address, { silenceMs: 100 });
    assertEquals((await answer.bytes(600_000)).length, 600_000);
  });
});

Deno.test("request() throws the reason of its signal", async () => {
  await withServer(() => new Response(body(1, 20)), async (address) => {
    const controller = new AbortController();
    const answer = await request(address, { signal: controller.signal });
    const bytes = answer.bytes(1e6);
    controller.abort(new Error("stopped"));
    await assertRejects(() => bytes, Error, "stopped");
  });
});

Deno.test("Answer stops at one byte more than it may have", async () => {
  await withServer(() => new Response(body(65_536, 0)), async (address) => {
    const answer = await request(address);
    await assertRejects(
      () => answer.bytes(100_000),
      DataError,
      "size must be at most 100000 bytes",
    );
    await assertRejects(() => readTextIfThere(address, 1e6), DataError, "at most 1000000 bytes");
  });
});

Deno.test("openRangedFile() takes the range that it asked for and no other", async () => {
  const content = new Uint8Array(100).map((_, at) => at);
  const cases: [string | undefined, number, number][] = [
    ["bytes 10-19/100", 10, 20],
    ["bytes 11-20/100", 11, 21],
    ["bytes 10-19/101", 10, 20],
    ["bytes 10-18/100", 10, 19],
    ["bytes */100", 10, 20],
    [undefined, 10, 20],
    ["bytes 10-19/100", 10, 21],
    ["bytes 10-19/100", 10, 19],
  ];
  for (const [at, [range, begin, end]] of cases.entries()) {
    const answer = (asked: Request) => {
      const isFirst = asked.headers.get("range") === "bytes=0-0";
      const sent = isFirst ? "bytes 0-0/100" : range;
      return new Response(isFirst ? "x" : content.slice(begin, end), {
        status: 206,
        ...(sent !== undefined && { headers: { "content-range": sent } }),
      });
    };
    await withServer(answer, async (address) => {
      await using file = await openRangedFile(address);
      if (at === 0) assertEquals(await file.read(10, 10), content.slice(10, 20));
      else await assertRejects(() => file.read(10, 10), DataError, "Cannot read http://");
    });
  }
  await withServer(
    () => new Response(content),
    (address) =>
      assertRejects(() => openRangedFile(address), DataError, "range requests with status 206"),
  );
});

Deno.test("locateModel() says whether a name that is no model is there", async () => {
  const file = await Deno.makeTempFile({ suffix: ".txt" });
  await assertRejects(() => locateModel(file), DataError, `${file} must be a .gguf file`);
  await assertRejects(() => locateModel(file), DataError, "current value is another kind of file");
  await Deno.remove(file);
  await assertRejects(() => locateModel(file), DataError, "current value is no file or folder");
});

Deno.test("addresses that are none end in errors of the toolkit", async () => {
  for (const address of ["http://[", "http://", "http://127.0.0.1:9/x", "https://a b/"]) {
    await assertRejects(() => readTextIfThere(address), DataError, `Cannot read ${address}`);
    await assertRejects(() => locateModel(address), DataError, `Cannot read ${address}`);
  }
  for (const address of ["file://[", "file:///%zz", "file:///a%ffb"]) {
    await assertRejects(() => locateModel(address), DataError, "must be well-formed");
  }
  for (const location of ["data:text/plain,x", "file:///etc/hostname", "/again"]) {
    const redirect = () => new Response(null, { status: 302, headers: { location } });
    await withServer(
      redirect,
      (address) =>
        assertRejects(() => readTextIfThere(address), ConnectionError, "the server must answer"),
    );
  }
});
