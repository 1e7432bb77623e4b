/**
 * Bundles the page and serves it: `deno run -A examples/browser/serve.ts [PORT]`
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { DataError } from "../../core/check.ts";

const PAGE = fileURLToPath(new URL("./page.ts", import.meta.url));
const INDEX = fileURLToPath(new URL("./index.html", import.meta.url));
const EMBEDDED = fileURLToPath(new URL("../../data/embedded/", import.meta.url));

/**
 * Bundles the page and answers requests for it and for the embedded pair.
 *
 * @param port Port on this machine; 0 for any free one.
 * @returns The server; disposing of it removes the bundle too.
 */
export async function servePage(port: number): Promise<AsyncDisposable & { address: string }> {
  const folder = await Deno.makeTempDir();
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["bundle", "--platform", "browser", "--code-splitting", "--outdir", folder, PAGE],
  }).output();
  if (!success) throw new DataError(`Cannot bundle the page: ${new TextDecoder().decode(stderr)}`);
  const server = Deno.serve({ hostname: "127.0.0.1", port, onListen: () => {} }, (request) => {
    const { pathname } = new URL(request.url);
    if (pathname === "/") return fileResponse(INDEX, "text/html");
    const inPair = /^\/embedded\/([\w./-]+)$/.exec(pathname)?.[1];
    if (inPair !== undefined) {
      const range = request.headers.get("range") ?? "";
      return fileResponse(EMBEDDED + inPair, "application/octet-stream", range);
    }
    return fileResponse(`${folder}${pathname}`, "text/javascript");
  });
  return {
    address: `http://127.0.0.1:${server.addr.port}/`,
    async [Symbol.asyncDispose]() {
      await server.shutdown();
      await Deno.remove(folder, { recursive: true });
    },
  };
}

/** A file or the part of it that is asked for: models are read piece by piece. */
async function fileResponse(path: string, type: string, range = ""): Promise<Response> {
  const bytes = await Deno.readFile(path).catch(() => undefined);
  if (bytes === undefined) return new Response(null, { status: 404 });
  const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(range) ?? [];
  const headers = { "content-type": type };
  if (first === undefined) return new Response(bytes, { headers });
  const part = bytes.slice(Number(first), Number(last) + 1);
  const contentRange = { "content-range": `bytes ${first}-${last}/${bytes.length}` };
  return new Response(part, { status: 206, headers: { ...headers, ...contentRange } });
}

if (import.meta.main) {
  const { address } = await servePage(Number(Deno.args[0] ?? 8000));
  console.log(`Open ${address}`);
}
