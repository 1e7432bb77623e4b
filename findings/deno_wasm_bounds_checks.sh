#!/usr/bin/env bash
# Deno: WebAssembly checks the bounds of every load and store, unlike in Node on the same machine.
#
# Guess of a good engineer: on 64-bit Linux, V8 reserves guard pages around a 32-bit memory and lets the processor's trap
# handler find bad addresses, so loads cost what they cost in C; Deno and Node, both V8, run a module equally fast.
# Seen with Deno 2.9.6 beside Node 22.20.0: V8's handler is on in Node and off in Deno, where each access carries a comparison
# and a branch. Loops that mostly load, as products of packed weights do, take 1.3 to 1.5 times as long for it
# (deno run --v8-flags=--no-wasm-bounds-checks shows how much, at the price of the checks).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund deno@2.9.6 node@22.20.0
cat > handler.mjs <<'JS'
console.log(new Function("return %IsWasmTrapHandlerEnabled()")());
JS
node=$(./node_modules/.bin/node --allow-natives-syntax handler.mjs)
deno=$(NO_COLOR=1 ./node_modules/.bin/deno run --no-config --v8-flags=--allow-natives-syntax handler.mjs)
echo "trap handler: Node $node, Deno $deno"
[ "$node $deno" = "true false" ] || { echo "no longer as described"; exit 1; }
echo "as described"
