#!/usr/bin/env bash
# NATS JetStream: a message that was done and removed still keeps a new one with its id out, and publishing says it went well.
#
# Guess of a good engineer: on a work queue, which deletes what is acknowledged, an id can be published again once its message
# is gone; de-duplication compares with what is in the stream.
# Seen with nats-server 2.9.10 (Debian 12) and @nats-io/jetstream 3.4.0: for the duplicate window, two minutes by default, the
# second message is dropped. The answer is no error but `duplicate: true` with the old sequence number, and the stream stays
# empty: work that was lost by whoever acknowledged it cannot be given out again under its id.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$folder"' EXIT
cd "$folder"
apt-get download -qq nats-server 2>/dev/null
dpkg -x nats-server_*.deb server
npm install --silent --no-audit --no-fund @nats-io/transport-node@3.4.0 @nats-io/jetstream@3.4.0
./server/usr/sbin/nats-server -a 127.0.0.1 -p 14222 -js -sd store > server.log 2>&1 &
server=$!
cat > run.mjs <<'JS'
import { connect } from "@nats-io/transport-node";
import { AckPolicy, jetstream, jetstreamManager, RetentionPolicy } from "@nats-io/jetstream";

const connection = await connect({ servers: "127.0.0.1:14222", waitOnFirstConnect: true });
console.log(`server ${connection.info.version}`);
const manager = await jetstreamManager(connection);
await manager.streams.add({ name: "work", subjects: ["work"], retention: RetentionPolicy.Workqueue });
await manager.consumers.add("work", { durable_name: "worker", ack_policy: AckPolicy.Explicit });
const js = jetstream(connection);
await js.publish("work", "first", { msgID: "a" });
const consumer = await js.consumers.get("work", "worker");
const message = await consumer.next();
await message.ackAck();
const count = async () => (await manager.streams.info("work")).state.messages;
console.log(`after its acknowledgement: ${await count()} messages`);
const { duplicate, seq } = await js.publish("work", "second", { msgID: "a" });
console.log(`published again: duplicate ${duplicate}, sequence ${seq}, ${await count()} messages`);
await connection.close();
JS
node run.mjs | tee seen.txt
grep -q "after its acknowledgement: 0 messages" seen.txt
grep -q "published again: duplicate true, sequence 1, 0 messages" seen.txt
echo "as described"
