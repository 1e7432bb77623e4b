#!/usr/bin/env bash
# Deno: once the garbage collector has run, aborting the signal of a fetch no longer ends the body that is being read.
#
# Guess of a good engineer: a body fails with an AbortError as soon as the controller whose signal was given to fetch() aborts,
# as the Fetch standard says, whatever else the program still holds; so a download ends when it is told to.
# Seen with deno 2.9.6 beside Node.js, a body of one byte every 20 ms, of which the reader and the controller are kept, and
# neither the Response nor anything else:
#                               Deno            Node.js
#   abort()                     AbortError      AbortError
#   a collection, then abort()  still reading   AbortError
# The server keeps sending, and a shutdown of Deno.serve() that waits for its connections never ends. Short tests pass, since they
# end before a collection. Not concerned: a fetch() that has no response yet, and a body whose reader is cancelled.
# This project's downloads had it (models/files/http.ts) and cancel by the reader.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund deno@2.9.6
cat > run.mjs <<'JS'
import { createServer } from "node:http";
import process from "node:process";

const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const server = createServer((request, response) => {
  const timer = setInterval(() => response.write("x"), 20);
  request.on("close", () => clearInterval(timer));
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));

/** Only the body outlives this function. */
async function open(signal) {
  return (await fetch(`http://127.0.0.1:${server.address().port}/`, { signal })).body;
}

async function readToEnd(reader) {
  while (!(await reader.read()).done);
  return "the end";
}

async function ends({ isCollected, isCancelled }) {
  const controller = new AbortController();
  const reader = (await open(controller.signal)).getReader();
  for (let piece = 0; piece < 5; piece++) await reader.read();
  for (let run = 0; isCollected && run < 3; run++) {
    globalThis.gc();
    await pause(10);
  }
  controller.abort();
  if (isCancelled) await reader.cancel().catch(() => {});
  const end = readToEnd(reader).catch(({ name }) => name);
  return await Promise.race([end, pause(2000).then(() => "still reading")]);
}

console.log("abort():", await ends({}));
console.log("a collection, then abort():", await ends({ isCollected: true }));
const cancelled = await ends({ isCollected: true, isCancelled: true });
console.log("and the reader cancelled:", cancelled === "still reading" ? cancelled : "ended");
process.exit();
JS
npx --no-install deno run --quiet --no-lock --allow-net --v8-flags=--expose-gc run.mjs | tee deno.txt
node --expose-gc run.mjs | tee node.txt
expect() {
  grep -qxF "$2" "$1" || {
    echo "another behaviour in $1: expected $2"
    exit 1
  }
}
for file in deno.txt node.txt; do
  expect $file "abort(): AbortError"
  expect $file "and the reader cancelled: ended"
done
expect deno.txt "a collection, then abort(): still reading"
expect node.txt "a collection, then abort(): AbortError"
echo "as described"
