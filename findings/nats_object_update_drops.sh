#!/usr/bin/env bash
# NATS object store: `update` with one field drops the others, and a link that is renamed or described is no link any more.
#
# Guess of a good engineer: `update(name, meta)`, whose `meta` is a Partial, changes what is given. "If the name is modified, the
# object is effectively renamed", so it has the same description, metadata and options under its new name.
# Seen with @nats-io/obj 3.4.0 and nats-server 2.9.10 (Debian 12):
#   an object with all three, after update(name, { name: "new" })    its bytes, an empty description, and neither of the others
#   a link, after update(name, { description: "text" })              no link and no bytes; `get` ends in a TypeError
# Fields that are left out are written as undefined over those that are stored, and what a link points to is an option.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$folder"' EXIT
cd "$folder"
apt-get download -qq nats-server 2>/dev/null
dpkg -x nats-server_*.deb server
npm install --silent --no-audit --no-fund @nats-io/transport-node@3.4.0 @nats-io/obj@3.4.0
./server/usr/sbin/nats-server -a 127.0.0.1 -p 14225 -js -sd store > server.log 2>&1 &
server=$!
cat > run.mjs <<'JS'
import { Objm } from "@nats-io/obj";
import { connect } from "@nats-io/transport-node";

const connection = await connect({ servers: "127.0.0.1:14225", waitOnFirstConnect: true });
const store = await new Objm(connection).create("store");

async function show(name) {
  const { description, metadata, options } = await store.info(name);
  const text = await store.getBlob(name).then((bytes) => new TextDecoder().decode(bytes), (error) => error.name);
  console.log(JSON.stringify([name, text, description, metadata, options]));
}

const all = { name: "object", description: "text", metadata: { key: "value" }, options: { max_chunk_size: 1000 } };
await store.putBlob(all, new TextEncoder().encode("bytes"));
await store.link("link", await store.info("object"));
await show("object");
await show("link");
await store.update("link", { description: "text" });
await show("link");
await store.update("object", { name: "new" });
await show("new");
await connection.close();
JS
node run.mjs | tee seen.txt
diff seen.txt - <<'TXT'
["object","bytes","text",{"key":"value"},{"max_chunk_size":1000}]
["link","bytes","",{},{"link":{"bucket":"store","name":"object"}}]
["link","TypeError","text",{},null]
["new","bytes","",{},null]
TXT
echo "as described"
