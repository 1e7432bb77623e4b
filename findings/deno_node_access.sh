#!/usr/bin/env bash
# `access` of node:fs/promises in Deno ends a process that may read the file, and no `catch` sees the error.
#
# Guess of a good engineer: a permission that is missing rejects the promise, as with every other call of node:fs.
# Seen with Deno 2.9.6: with --allow-read alone, `stat` of the same file works. `access` never settles: it asks for the
# user of the process, which needs --allow-sys=uid, outside of the promise. The error is uncaught and the exit code is 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --prefix tool deno@2.9.6
deno() { ./tool/node_modules/.bin/deno "$@"; }
deno --version | head -n 1
printf 'text' > file.txt
cat > run.mjs <<'JS'
import { access, stat } from "node:fs/promises";
console.log("stat:", (await stat("file.txt")).size);
await access("file.txt").then(() => console.log("access: ok"), () => console.log("access: rejected"));
console.log("end");
JS
export NO_COLOR=1
code=0
deno run --no-prompt --allow-read=. run.mjs > out.txt 2> err.txt || code=$?
cat out.txt
grep -m 1 'error:' err.txt
[ "$code" -eq 1 ] && [ "$(cat out.txt)" = "stat: 4" ] && grep -q 'Requires sys access to "uid"' err.txt
deno run --no-prompt --allow-read=. --allow-sys=uid run.mjs | tee out.txt
[ "$(tail -n 1 out.txt)" = end ] && grep -q 'access: ok' out.txt
echo "as described"
