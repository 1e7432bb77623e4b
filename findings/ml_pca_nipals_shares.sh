#!/usr/bin/env bash
# ml-pca: with NIPALS the components that were asked for explain 100 %, however few they are, and eigenvalues are not divided.
#
# Guess of a good engineer: `method` says how components are found and not what they mean, so eigenvalues, standard deviations
# and the explained variance ("the proportion of variance for each component") are the same by SVD, by the covariance matrix
# and by NIPALS, which merely finds `nCompNIPALS` of them.
# Seen with ml-pca 4.1.1 of 5 rows and 3 columns, whose variances are 5, 5.3 and 3.7:
#                         eigenvalues             standard deviations    explained variance
#   SVD                   6.773 3.750 3.477       2.602 1.936 1.865      0.484 0.268 0.248
#   covarianceMatrix      the same
#   NIPALS, three         27.092 15.000 13.908    5.205 3.873 3.729      0.484 0.268 0.248
#   NIPALS, two           27.092 15.000           5.205 3.873            0.644 0.356
#   NIPALS, one           27.092                  5.205                  1.000
# Squares are never divided by rows - 1, and shares are of what was computed. The first component is the same by all, up to
# its sign. Two components, the default, always "explain" everything, which is what the number is there to say or to deny.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund ml-pca@4.1.1
cat > run.mjs <<'JS'
import { PCA } from "ml-pca";

const rows = [[1, 2, 1], [3, 5, 0], [4, 4, 5], [7, 3, 1], [5, 8, 2]];
const write = (values) => values.map((value) => value.toFixed(3)).join(" ");
const variances = [0, 1, 2].map((column) => {
  const values = rows.map((row) => row[column]);
  const mean = values.reduce((sum, value) => sum + value) / rows.length;
  return values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (rows.length - 1);
});
console.log("variances", write(variances), "sum", write([variances.reduce((sum, value) => sum + value)]));
for (const [method, nCompNIPALS] of [["SVD"], ["covarianceMatrix"], ["NIPALS", 3], ["NIPALS", 2], ["NIPALS", 1]]) {
  const pca = new PCA(rows, { method, nCompNIPALS });
  const values = [pca.getEigenvalues(), pca.getStandardDeviations(), pca.getExplainedVariance()];
  const first = pca.predict(rows).getColumn(0).map(Math.abs);
  console.log(method, nCompNIPALS ?? 3, values.map(write).join(", "), "scores", write(first));
}
JS
node run.mjs | tee seen.txt
diff seen.txt - <<'TXT'
variances 5.000 5.300 3.700 sum 14.000
SVD 3 6.773 3.750 3.477, 2.602 1.936 1.865, 0.484 0.268 0.248 scores 3.880 0.574 0.321 0.831 3.303
covarianceMatrix 3 6.773 3.750 3.477, 2.602 1.936 1.865, 0.484 0.268 0.248 scores 3.880 0.574 0.321 0.831 3.303
NIPALS 3 27.092 15.000 13.908, 5.205 3.873 3.729, 0.484 0.268 0.248 scores 3.880 0.574 0.321 0.831 3.303
NIPALS 2 27.092 15.000, 5.205 3.873, 0.644 0.356 scores 3.880 0.574 0.321 0.831 3.303
NIPALS 1 27.092, 5.205, 1.000 scores 3.880 0.574 0.321 0.831 3.303
TXT
echo "as described"
