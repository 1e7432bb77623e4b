/**
 * A web server for files of this machine, like a registry of modules.
 *
 * @module
 */

const TYPES: Readonly<Record<string, string>> = {
  html: "text/html",
  js: "text/javascript",
  json: "application/json",
  ts: "application/typescript",
};

/** A running server. */
export interface FileServer extends AsyncDisposable {
  /** Its address, without a slash at the end. */
  readonly address: string;
}

/**
 * Serves folders, with range requests.
 *
 * @param folders Folder by the first part of the address, as in `{ models: "/somewhere" }`.
 * @returns The server, on a free port.
 */
export function serveFolders(folders: Readonly<Record<string, string>>): FileServer {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    const [, first = "", ...rest] = new URL(request.url).pathname.split("/");
    const folder = folders[first];
    return folder === undefined ? notFound() : answer(`${folder}/${rest.join("/")}`, request);
  });
  return {
    address: `http://127.0.0.1:${server.addr.port}`,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

async function answer(path: string, request: Request): Promise<Response> {
  const bytes = await Deno.readFile(path).catch(() => undefined);
  if (bytes === undefined) return notFound();
  const type = TYPES[path.split(".").at(-1)!] ?? "application/octet-stream";
  const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.get("range") ?? "");
  if (range === null) return new Response(bytes, { headers: { "content-type": type } });
  const part = bytes.slice(Number(range[1]), Number(range[2]) + 1);
  const headers = { "content-range": `bytes ${range[1]}-${range[2]}/${bytes.length}` };
  return new Response(part, { status: 206, headers });
}

function notFound(): Response {
  return new Response(null, { status: 404 });
}
