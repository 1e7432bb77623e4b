#!/usr/bin/env bash
# NATS client: `reconnectDelayHandler` is called many times between two attempts, so a back-off that counts its calls runs away.
#
# Guess of a good engineer: the handler is called once before each attempt to reconnect, so the usual back-off, a delay that
# doubles at each call, waits 0.05, 0.1, 0.2 seconds and so on.
# Seen with @nats-io/transport-node 3.4.0 and nats-server 2.9.10 (Debian 12), which is away for half a second: the client
# asks on each look at its clock. The handler has long reached its largest delay when the first attempt is made.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
apt-get download -qq nats-server 2>/dev/null
dpkg -x nats-server_*.deb server
npm install --silent --no-audit --no-fund @nats-io/transport-node@3.4.0
cat > run.mjs <<'JS'
import { spawn } from "node:child_process";
import { setTimeout } from "node:timers/promises";
import { connect } from "@nats-io/transport-node";

const start = () => spawn("./server/usr/sbin/nats-server", ["-a", "127.0.0.1", "-p", "14223"], { stdio: "ignore" });
let server = start();
let [delay, calls, attempts] = [25, 0, 0];
const connection = await connect({
  servers: "127.0.0.1:14223",
  waitOnFirstConnect: true,
  maxReconnectAttempts: -1,
  reconnectDelayHandler() {
    calls++;
    return delay = Math.min(2 * delay, 4000);
  },
});
[delay, calls] = [25, 0];
const back = new Promise((resolve) => {
  (async () => {
    for await (const { type } of connection.status()) {
      if (type === "reconnecting") attempts++;
      if (type === "reconnect") return resolve();
    }
  })();
});
server.kill("SIGKILL");
await setTimeout(500);
server = start();
const away = performance.now();
await back;
console.log(`calls ${calls}, attempts ${attempts}, ${((performance.now() - away) / 1000).toFixed(1)} s after the server was back`);
console.log(calls > 3 * attempts ? "more than three calls for each attempt" : "about one call for each attempt");
await connection.close();
server.kill();
JS
node run.mjs | tee seen.txt
grep -q "more than three calls for each attempt" seen.txt
echo "as described"
