#!/usr/bin/env bash
# NATS key-value store: a watch that ignores deletes reports purges, and calls the last of the values that it found an update.
#
# Guess of a good engineer: `watch({ ignoreDeletes: true })`, which "skips notifying deletes", gives values alone, as `keys`
# does and as IgnoreDeletes does in Go; a purge is a delete that drops the history, too. `isUpdate` tells what was there from
# what changed since.
# Seen with @nats-io/kv 3.4.0 and nats-server 2.9.10 (Debian 12):
#   purged before the watch    an entry with operation PURGE, whose `string()` is ""
#   deleted before it          nothing, as asked for
#   the last of what it found  isUpdate true, whether a value or a purge; all before it false
# So who fills a map from such a watch keeps purged keys, and who acts on updates alone acts on one key at each start, the
# newest. An entry's `delta` is right: what was there ends with 0.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$folder"' EXIT
cd "$folder"
apt-get download -qq nats-server 2>/dev/null
dpkg -x nats-server_*.deb server
npm install --silent --no-audit --no-fund @nats-io/transport-node@3.4.0 @nats-io/kv@3.4.0
./server/usr/sbin/nats-server -a 127.0.0.1 -p 14224 -js -sd store > server.log 2>&1 &
server=$!
cat > run.mjs <<'JS'
import { Kvm } from "@nats-io/kv";
import { connect } from "@nats-io/transport-node";

const connection = await connect({ servers: "127.0.0.1:14224", waitOnFirstConnect: true });
const buckets = new Kvm(connection);

/** Reads what a watch finds, and one value that is put once it is there. */
async function watch(bucket) {
  const entries = await bucket.watch({ ignoreDeletes: true });
  await bucket.put("later", "2");
  for await (const { key, operation, isUpdate, value } of entries) {
    console.log(`${key} ${operation} of ${value.length} bytes, update ${isUpdate}`);
    if (key === "later") break;
  }
}

const values = await buckets.create("values");
for (const key of ["first", "second", "third"]) await values.put(key, "1");
await watch(values);
const removed = await buckets.create("removed");
for (const key of ["deleted", "purged", "kept"]) await removed.put(key, "1");
await removed.delete("deleted");
await removed.purge("purged");
for await (const key of await removed.keys()) console.log(`${key} is the only key`);
await watch(removed);
await connection.close();
JS
node run.mjs | tee seen.txt
diff seen.txt - <<'TXT'
first PUT of 1 bytes, update false
second PUT of 1 bytes, update false
third PUT of 1 bytes, update true
later PUT of 1 bytes, update true
kept is the only key
kept PUT of 1 bytes, update false
purged PURGE of 0 bytes, update true
later PUT of 1 bytes, update true
TXT
echo "as described"
