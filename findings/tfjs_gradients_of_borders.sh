#!/usr/bin/env bash
# TensorFlow.js: some gradients are wrong without a word, of average pooling, mirrored borders, resized images and labels.
#
# Guess of a good engineer: an operation either has a gradient, which is the one of what it computes, or `tf.grad` refuses, as
# it does for dozens.
# Seen with @tensorflow/tfjs 4.22.0 on its CPU back end, in float32, beside finite differences; each operation's sum but for
# the last two:
#                                                    tf.grad              differences
#   avgPool(x, 2, 1, "same") of two by two           0.25 0.5 0.5 1       0.25 0.75 0.75 2.25
#   mirrorPad(x, 2, "reflect") of 3 numbers          1 1 1                2 3 2
#   resizeNearestNeighbor(x, 3, false, true)         4 2 2 1              1 2 2 4
#   resizeBilinear(x, 3, false, true)                1.78 2.22 2.22 2.78  2.25 2.25 2.25 2.25
#   softmaxCrossEntropy(labels, x) by the labels     0.11 0.26 -0.37      2.41 1.41 0.41: -logSoftmax(x)
#   softmaxCrossEntropy(softmax(x), x) by x          0 0 0                0.14 0.14 -0.28: the slope of an entropy
# Pooling divides by the whole window where the forward pass divides by what is inside the image, mirrored values give nothing
# back, both resizings forget `halfPixelCenters`, and labels get the negative of what logits get. So whoever trains with
# `padding: "same"` learns too little at borders, and an entropy as a penalty has no slope at all.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund @tensorflow/tfjs@4.22.0
cat > run.mjs <<'JS'
import * as tf from "@tensorflow/tfjs";

await tf.setBackend("cpu");
const softmaxCrossEntropy = tf.losses.softmaxCrossEntropy;
const image = tf.tensor4d([0.1, 0.4, 0.3, 0.2], [1, 2, 2, 1]);
const logits = tf.tensor2d([[1, 2, 3]]);
for (const [name, operation, x] of [
  ["avgPool", (x) => tf.avgPool(x, 2, 1, "same"), image],
  ["mirrorPad", (x) => tf.mirrorPad(x, [[2, 2]], "reflect"), tf.tensor1d([0.1, 0.2, 0.3])],
  ["nearest", (x) => tf.image.resizeNearestNeighbor(x, [3, 3], false, true), image],
  ["bilinear", (x) => tf.image.resizeBilinear(x, [3, 3], false, true), image],
  ["logits", (x) => softmaxCrossEntropy(tf.tensor2d([[0.2, 0.5, 0.3]]), x), logits],
  ["labels", (x) => softmaxCrossEntropy(x, logits), tf.tensor2d([[0.2, 0.5, 0.3]])],
  ["entropy", (x) => softmaxCrossEntropy(tf.softmax(x), x), logits],
]) {
  const sum = (x) => tf.sum(operation(x));
  const values = [...x.dataSync()];
  const at = (place, step) => sum(tf.tensor(values.map((value, i) => i === place ? value + step : value), x.shape)).dataSync()[0];
  const differences = values.map((_, i) => (at(i, 0.05) - at(i, -0.05)) / 0.1);
  const write = (numbers) => [...numbers].map((value) => value.toFixed(2).replace("-0.00", "0.00")).join(" ");
  console.log(`${name}: ${write(tf.grad(sum)(x).dataSync())}, differences ${write(differences)}`);
}
JS
node run.mjs 2> log.txt | tee seen.txt
diff seen.txt - <<'TXT'
avgPool: 0.25 0.50 0.50 1.00, differences 0.25 0.75 0.75 2.25
mirrorPad: 1.00 1.00 1.00, differences 2.00 3.00 2.00
nearest: 4.00 2.00 2.00 1.00, differences 1.00 2.00 2.00 4.00
bilinear: 1.78 2.22 2.22 2.78, differences 2.25 2.25 2.25 2.25
logits: -0.11 -0.26 0.37, differences -0.11 -0.26 0.37
labels: 0.11 0.26 -0.37, differences 2.41 1.41 0.41
entropy: 0.00 0.00 0.00, differences 0.14 0.14 -0.28
TXT
echo "as described"
