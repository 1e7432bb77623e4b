#!/usr/bin/env bash
# NATS JetStream: an ordered consumer never gives the messages that were in a batch when its loop was left.
#
# Guess of a good engineer: an ordered consumer gives every message once and in order. Where a `for await` over `fetch` ends by
# `break`, the next `fetch` goes on after the last message that the loop was given, as it does after a loop to the end.
# Seen with @nats-io/jetstream 3.4.0 and nats-server 2.9.10 (Debian 12), ten messages, fetch({ max_messages: 6 }):
#   loop to the end of the batch, next batch    1 2 3 4 5 6, then 7 8 9 10
#   loop left at 2, next batch                  1 2, then 7 8 9 10: no call of this consumer gives 3 to 6
#   loop left by an error at 2                  the same
#   `next` instead of `fetch`                   1, 2, 3
# What has arrived counts as read, and an ordered consumer has no acknowledgements by which the rest would come again. The
# sequence number of the first message shows the gap; nothing else does.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$folder"' EXIT
cd "$folder"
apt-get download -qq nats-server 2>/dev/null
dpkg -x nats-server_*.deb server
npm install --silent --no-audit --no-fund @nats-io/transport-node@3.4.0 @nats-io/jetstream@3.4.0
./server/usr/sbin/nats-server -a 127.0.0.1 -p 14226 -js -sd store > server.log 2>&1 &
server=$!
cat > run.mjs <<'JS'
import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "@nats-io/transport-node";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";

const connection = await connect({ servers: "127.0.0.1:14226", waitOnFirstConnect: true });
const js = jetstream(connection);
await (await jetstreamManager(connection)).streams.add({ name: "stream", subjects: ["numbers"] });
for (let i = 1; i <= 10; i++) await js.publish("numbers", String(i));

async function read(consumer, leave) {
  const seen = [];
  try {
    for await (const message of await consumer.fetch({ max_messages: 6, expires: 1000 })) {
      seen.push(message.seq);
      await sleep(100); // its work; meanwhile the rest of the batch arrives
      if (seen.length === 2 && leave === "break") break;
      if (seen.length === 2 && leave === "error") throw new Error("work failed");
    }
  } catch (error) {
    if (leave !== "error") throw error;
  }
  return seen.join(" ");
}

for (const leave of ["end", "break", "error"]) {
  const consumer = await js.consumers.get("stream");
  console.log(`${leave}: ${await read(consumer, leave)}, then ${await read(consumer)}`);
}
const consumer = await js.consumers.get("stream");
console.log("next:", (await consumer.next()).seq, (await consumer.next()).seq, (await consumer.next()).seq);
await connection.close();
JS
node run.mjs | tee seen.txt
diff seen.txt - <<'TXT'
end: 1 2 3 4 5 6, then 7 8 9 10
break: 1 2, then 7 8 9 10
error: 1 2, then 7 8 9 10
next: 1 2 3
TXT
echo "as described"
