#!/usr/bin/env bash
# torchmetrics: the standard error of BootStrapper(sampling_strategy="multinomial") shrinks with the batch, to 0 for batches of 1.
#
# Guess of a good engineer: `BootStrapper` estimates the standard error of the value that `compute` returns, and that is of all
# data, so how it was cut into updates does not matter, as it does not matter to the metric.
# Seen with torchmetrics 1.9.0 and torch 2.15.0, mean squared error of 256 values, 100 bootstraps; by the formula 0.084:
#   batch                     256      32       8        2        1
#   multinomial, as drawn     0.076    0.073    0.082    0.054    0.000
#   multinomial, sorted       0.087    0.041    0.022    0.012    0.000
#   poisson, as drawn         0.083    0.082    0.090    0.085    0.081
#   poisson, sorted           0.075    0.071    0.083    0.081    0.082
# Each update is resampled for itself, as documentation says, but not what follows: each sample has as much of each batch as the
# data, so differences between batches, as of tasks or of lengths that come one after another, are left out. Poisson weights, the
# default, are right. Texts are often read one at a time, and then no difference is too small to be called significant.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
./venv/bin/uv pip install --quiet --python venv/bin/python torchmetrics==1.9.0 torch==2.15.0 numpy==2.4.6
cat > run.py <<'PY'
import torch
from torchmetrics import MeanSquaredError
from torchmetrics.wrappers import BootStrapper

torch.set_num_threads(1)
torch.manual_seed(0)
values = torch.randn(256)
values -= values.mean()
print("formula", f"{(values.double() ** 2).std() / 16:.3f}")
orders = {"as drawn": values, "sorted": values[values.abs().argsort()]}
for strategy in ["multinomial", "poisson"]:
    for order, errors in orders.items():
        found = []
        for size in [256, 32, 8, 2, 1]:
            torch.manual_seed(1)
            metric = BootStrapper(MeanSquaredError(), num_bootstraps=100, sampling_strategy=strategy)
            for part in errors.split(size):
                metric.update(part, torch.zeros_like(part))
            found.append(f"{metric.compute()['std'].item():.3f}")
        print(strategy, order, *found, flush=True)
PY
./venv/bin/python run.py 2> log.txt | tee seen.txt
diff seen.txt - <<'TXT'
formula 0.084
multinomial as drawn 0.076 0.073 0.082 0.054 0.000
multinomial sorted 0.087 0.041 0.022 0.012 0.000
poisson as drawn 0.083 0.082 0.090 0.085 0.081
poisson sorted 0.075 0.071 0.083 0.081 0.082
TXT
echo "as described"
