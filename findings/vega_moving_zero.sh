#!/usr/bin/env bash
# Vega: a moving product is NaN for good once a zero has been in its window, and a moving variance keeps what a large value left.
#
# Guess of a good engineer: an operation of a `window` transform is one of the rows in its frame, so a row that has left the frame
# has no influence, up to rounding of what is in it.
# Seen with vega 6.4.0, frames of a row and the one before:
#   product of 5, 0, 2, 3, 4                    5 0 0 NaN NaN, not 5 0 0 6 12
#   product of 5, 1, 2, 3, 4                    5 5 2 6 12
#   variance of 0.1, 1e9, 0.2, 0.3, 0.7, 0.4    64.005 64.08 64.045 in the last three, where 0.005, 0.08 and 0.045 are right
#   `values` of the last row                    0.7 and 0.4: the frame itself is right
# The product is divided by what leaves, and 0 / 0 is NaN; sums of squares are taken off. A running rate of growth or a product
# of probabilities ends with the first zero.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund vega@6.4.0
cat > run.mjs <<'JS'
import { parse, View } from "vega";

async function move(op, numbers) {
  const values = numbers.map((x, i) => ({ x, i }));
  const frame = { type: "window", sort: { field: "i" }, frame: [-1, 0] };
  const transform = [{ ...frame, ops: [op, "values"], fields: ["x", "x"], as: ["moving", "rows"] }];
  const view = new View(parse({ data: [{ name: "table", values, transform }] }), { renderer: "none" });
  await view.runAsync();
  const rows = view.data("table");
  const last = rows.at(-1).rows.map(({ x }) => x);
  console.log(op, "of", ...numbers, "is", ...rows.map(({ moving }) => moving && +moving.toPrecision(5)), "of", ...last, "at last");
}
await move("product", [5, 0, 2, 3, 4]);
await move("product", [5, 1, 2, 3, 4]);
await move("variance", [0.1, 1e9, 0.2, 0.3, 0.7, 0.4]);
await move("variance", [0.1, 1, 0.2, 0.3, 0.7, 0.4]);
JS
node run.mjs | tee seen.txt
diff seen.txt - <<'TXT'
product of 5 0 2 3 4 is 5 0 0 NaN NaN of 3 4 at last
product of 5 1 2 3 4 is 5 5 2 6 12 of 3 4 at last
variance of 0.1 1000000000 0.2 0.3 0.7 0.4 is undefined 500000000000000000 500000000000000000 64.005 64.08 64.045 of 0.7 0.4 at last
variance of 0.1 1 0.2 0.3 0.7 0.4 is undefined 0.405 0.32 0.005 0.08 0.045 of 0.7 0.4 at last
TXT
echo "as described"
