#!/usr/bin/env bash
# TensorFlow.js, WebAssembly back end: a cast to bool cuts numbers to a byte, so 0.4 is false, 256 is false and true can be 255.
#
# Guess of a good engineer: `tf.cast(x, "bool")` is true where x is not 0, on each back end, and stored as 0 or 1.
# Seen with @tensorflow/tfjs and @tensorflow/tfjs-backend-wasm 4.22.0, of 0.4, 256, -1, 2 and 1:
#                                CPU          WebAssembly
#   cast to bool                 1 1 1 1 1    0 0 255 2 1
#   `where` it, 1, else 0        1 1 1 1 1    0 0 1 1 1
#   `logicalNot` of it           0 0 0 0 0    1 1 254 3 0
#   `logicalAnd` of it and true  1 1 1 1 1    0 0 1 0 1
#   `sum`, `all`                 5, 1         258, 0
#   notEqual(x, 0)               1 1 1 1 1    1 1 1 1 1
# Operations are bit by bit: 2 is true for `where` and so is its negation, but for `logicalAnd` with true it is false. A mask of
# weights between 0 and 1 is empty, and a model that casts depends on where it runs. An issue of 2019 about such casts is closed
# (tensorflow/tfjs#2590); `notEqual` is right on both.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund @tensorflow/{tfjs,tfjs-backend-wasm}@4.22.0
cat > run.mjs <<'JS'
import * as tf from "@tensorflow/tfjs";
import { setWasmPaths } from "@tensorflow/tfjs-backend-wasm";

setWasmPaths(`${process.cwd()}/node_modules/@tensorflow/tfjs-backend-wasm/dist/`);
for (const backend of ["cpu", "wasm"]) {
  await tf.setBackend(backend);
  const write = (name, tensor) => console.log(backend, name, ...tensor.dataSync());
  const numbers = tf.tensor1d([0.4, 256, -1, 2, 1]);
  const bools = tf.cast(numbers, "bool");
  const truths = tf.onesLike(bools);
  write("cast", bools);
  write("where", tf.where(bools, tf.ones([5]), tf.zeros([5])));
  write("not", tf.logicalNot(bools));
  write("and", tf.logicalAnd(bools, truths));
  write("sum", tf.sum(bools));
  write("all", tf.all(bools));
  write("compared", tf.notEqual(numbers, 0));
}
JS
node run.mjs 2> log.txt | tee seen.txt
diff seen.txt - <<'TXT'
cpu cast 1 1 1 1 1
cpu where 1 1 1 1 1
cpu not 0 0 0 0 0
cpu and 1 1 1 1 1
cpu sum 5
cpu all 1
cpu compared 1 1 1 1 1
wasm cast 0 0 255 2 1
wasm where 0 0 1 1 1
wasm not 1 1 254 3 0
wasm and 0 0 1 0 1
wasm sum 258
wasm all 0
wasm compared 1 1 1 1 1
TXT
echo "as described"
