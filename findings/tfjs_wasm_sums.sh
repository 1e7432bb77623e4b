#!/usr/bin/env bash
# TensorFlow.js, WebAssembly back end: the mean of millions of numbers is off by percents, and `log1p` is 0 for 1e-8.
#
# Guess of a good engineer: a reduction keeps several partial sums or a wider one, so that a mean in float32 is right to some
# six digits; `log1p` exists for small numbers, and a function of one number is right to some digits on each back end.
# Seen with @tensorflow/tfjs and @tensorflow/tfjs-backend-wasm 4.22.0:
#                                    CPU          WebAssembly
#   mean of 1e6 times 0.1            0.1          0.100958
#   mean of 4e6 times 0.1            0.1          0.0961312
#   their variance, by `moments`     0            0.0000152
#   sum of 2e7 times 1               20000000     16777216
#   log1p(1e-5)                      0.00001      0.0000100135
#   log1p(1e-7) and of 1e-8          1e-7 1e-8    1.19209e-7 0
#   selu(-1e-7)                      -1.7581e-7   -2.09582e-7
# One float32 adds up everything, where the CPU back end's is a number of JavaScript. `log1p(x)` is log(1 + x), and `selu` takes
# 1 from exp(x), though `expm1` and `elu` are right on both.
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
  const write = (name, tensor) => console.log(backend, name, ...[...tensor.dataSync()].map((value) => +value.toPrecision(6)));
  const tenths = tf.fill([4_000_000], 0.1);
  write("mean of 1e6", tf.mean(tf.fill([1_000_000], 0.1)));
  write("mean of 4e6", tf.mean(tenths));
  write("variance", tf.moments(tenths).variance);
  console.log(backend, "sum", tf.sum(tf.ones([20_000_000])).dataSync()[0]);
  for (const name of ["log1p", "expm1"]) write(name, tf[name]([1e-5, 1e-7, 1e-8]));
  for (const name of ["selu", "elu"]) write(name, tf[name]([-1e-5, -1e-7]));
}
JS
node run.mjs 2> log.txt | tee seen.txt
diff seen.txt - <<'TXT'
cpu mean of 1e6 0.1
cpu mean of 4e6 0.1
cpu variance 0
cpu sum 20000000
cpu log1p 0.00000999995 1e-7 1e-8
cpu expm1 0.00001 1e-7 1e-8
cpu selu -0.0000175809 -1.7581e-7
cpu elu -0.00000999995 -1e-7
wasm mean of 1e6 0.100958
wasm mean of 4e6 0.0961312
wasm variance 0.0000152097
wasm sum 16777216
wasm log1p 0.0000100135 1.19209e-7 0
wasm expm1 0.00001 1e-7 1e-8
wasm selu -0.0000176049 -2.09582e-7
wasm elu -0.00000999995 -1e-7
TXT
echo "as described"
