#!/usr/bin/env bash
# torchmetrics: the same logits have another AUROC and accuracy in smaller batches, and the order of low ones is lost.
#
# Guess of a good engineer: logits may be given as they are, "auto sigmoid" keeps their order, and `update` by any batches gives
# the same `compute`; log-likelihoods of texts are scores as good as others.
# Seen with torchmetrics 1.9.0 and torch 2.15.0, 1000 logits:
#   batch              1000     100      10       4        2        1       scikit-learn
#   AUROC              0.854    0.854    0.854    0.853    0.824    0.787   0.854
#   AP                 0.857    0.857    0.857    0.858    0.846    0.796   0.857
#   accuracy           0.778    0.778    0.778    0.779    0.759    0.742   0.778
# AUROC of the logits less 150, or plus 30: 0.500, where scikit-learn has 0.854.
# Whether they are logits is decided in each update, by whether any is outside 0..1: a batch that happens to lie inside is taken
# for probabilities, beside sigmoids of the others. Sigmoid in 32 bits is 0 or 1 where logits are far from 0.
# The first is in its tracker since 2023 (2195), the second since 2024 (2819). Its documentation tells of the rule, not of either.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
./venv/bin/uv pip install --quiet --python venv/bin/python torchmetrics==1.9.0 torch==2.15.0 scikit-learn==1.9.1 numpy==2.4.6
cat > run.py <<'PY'
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC, BinaryAveragePrecision

torch.set_num_threads(1)
torch.manual_seed(0)
labels = torch.randint(0, 2, (1000,))
logits = torch.randn(1000) + 1.5 * labels - 0.75


def run(metric, scores, size=1000):
    for part in torch.arange(1000).split(size):
        metric.update(scores[part], labels[part])
    return metric.compute().item()


for size in [1000, 100, 10, 4, 2, 1]:
    print(size, *(f"{run(metric(), logits, size):.3f}" for metric in [BinaryAUROC, BinaryAveragePrecision, BinaryAccuracy]))
right = [roc_auc_score(labels, logits), average_precision_score(labels, logits), ((logits > 0) == labels).double().mean()]
print("formula", *(f"{value:.3f}" for value in right))
for shift in [-150, 30]:
    shifted = logits + shift
    print(shift, f"{run(BinaryAUROC(), shifted):.3f} {roc_auc_score(labels, shifted):.3f}")
for size in [1000, 1]:
    print("sigmoid first", size, f"{run(BinaryAUROC(), logits.double().sigmoid(), size):.3f}")
PY
./venv/bin/python run.py | tee seen.txt
diff seen.txt - <<'TXT'
1000 0.854 0.857 0.778
100 0.854 0.857 0.778
10 0.854 0.857 0.778
4 0.853 0.858 0.779
2 0.824 0.846 0.759
1 0.787 0.796 0.742
formula 0.854 0.857 0.778
-150 0.500 0.854
30 0.500 0.854
sigmoid first 1000 0.854
sigmoid first 1 0.854
TXT
echo "as described"
