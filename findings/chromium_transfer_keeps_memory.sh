#!/usr/bin/env bash
# Chromium: ArrayBuffer.prototype.transfer(0) on a buffer that the browser made keeps its memory until a garbage collection,
# and hides it from the collector, which therefore does not come.
#
# Guess of a good engineer: transfer(0) detaches a buffer and frees its memory at once, so that reading a large file piece by
# piece takes little more than a piece; at worst it is as good as leaving each piece to the collector.
# Seen with @sparticuz/chromium 147.0.0 (Chromium 147.0.7727.0) by playwright-core 1.65.1, a page that reads 600 pieces of
# 1 MiB by Blob.arrayBuffer(); most private memory of its process above that of the empty page:
#   left to the collector                                78 MiB
#   transfer(0) of each                                 610 MiB
#   each sent by a MessagePort whose other end is closed 10 MiB
#   each copied by slice(), transfer(0) of the copy      74 MiB
# The last line is that of the first: a buffer that the script made is freed at once, only the browser's is not.
# This project's explorer sends pieces of model files to a closed port (explorer/engine/page_files.ts).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund @sparticuz/chromium@147.0.0 playwright-core@1.65.1
export TMPDIR=$PWD
cat > run.mjs <<'JS'
import { readFileSync } from "node:fs";
import chromium from "@sparticuz/chromium";
import { chromium as playwright } from "playwright-core";

const PIECES = 600; // of 1 MiB
const WAYS = {
  "left to the collector": () => {},
  "transfer(0)": (buffer) => buffer.transfer(0),
  "sent to a closed port": (buffer) => {
    const { port1, port2 } = new MessageChannel();
    port2.close();
    port1.postMessage(null, [buffer]);
    port1.close();
  },
  "own buffer, transfer(0)": (buffer) => buffer.slice().transfer(0),
};

/** Private memory of a process, MiB. */
function memoryOf(id) {
  const text = readFileSync(`/proc/${id}/smaps_rollup`, "utf8");
  return Number(/^Private_Dirty:\s+(\d+)/m.exec(text)[1]) / 1024;
}

chromium.setGraphicsMode = false;
const options = { executablePath: await chromium.executablePath(), args: ["--no-sandbox"], headless: true };
for (const [name, free] of Object.entries(WAYS)) {
  const browser = await playwright.launch(options);
  const page = await browser.newPage();
  const session = await browser.newBrowserCDPSession();
  const { processInfo } = await session.send("SystemInfo.getProcessInfo");
  const renderers = processInfo.filter(({ type }) => type === "renderer").map(({ id }) => id);
  const memory = () => Math.max(...renderers.map(memoryOf));
  const before = memory();
  let peak = 0;
  const timer = setInterval(() => peak = Math.max(peak, memory()), 20);
  await page.evaluate(async ([code, pieces]) => {
    const free = (0, eval)(`(${code})`);
    const blob = new Blob([new Uint8Array(2 ** 20)]);
    for (let piece = 0; piece < pieces; piece++) free(await blob.arrayBuffer());
  }, [free.toString(), PIECES]);
  clearInterval(timer);
  const most = Math.round(peak - before);
  console.error(`Chromium ${browser.version()}, ${name}: ${most} MiB`);
  console.log(`${name}: ${most > 0.7 * PIECES ? "all pieces" : most < 0.4 * PIECES ? "few pieces" : "some pieces"}`);
  await browser.close();
}
JS
node run.mjs | tee seen.txt
diff seen.txt - <<'TXT'
left to the collector: few pieces
transfer(0): all pieces
sent to a closed port: few pieces
own buffer, transfer(0): few pieces
TXT
echo "as described"
