#!/usr/bin/env bash
# lighteval: standard errors of what is no mean, as perplexity, are 32 times too small, and those of averages too large.
#
# Guess of a good engineer: the `_stderr` beside each result of the table is an estimate of its standard deviation: by
# resampling where the result is no mean, and for a mean of k independent tasks the root of the summed squares, divided by k.
# Seen with lighteval 0.13.0, four tasks of 100 samples with as much spread each:
#   perplexity of one task             0.0061, where the delta method and resampling with numpy give 0.20
#   the same with 100 resamples        0.018: the standard deviation of the resamples is divided by the root of their number
#   accuracy of one task               0.050, which is right
#   accuracy of all four on average    0.050, where it is 0.025: standard errors are averaged as if they were results
# So two models whose perplexities differ by chance appear to be many standard errors apart, and the 57 tasks of MMLU on
# average have a standard error that is more than seven times what it is.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
./venv/bin/uv pip install --quiet --python venv/bin/python lighteval==0.13.0 torch==2.15.0 transformers==5.24.0 \
  datasets==5.2.0 numpy==2.4.6
cat > run.py <<'PY'
import numpy as np
from lighteval.logging.info_loggers import MetricsLogger
from lighteval.metrics.metrics_corpus import CorpusLevelPerplexityMetric
from lighteval.metrics.sample_preparator import PerplexityCorpusMetricInput


class Task:
    def aggregation(self):
        return {"ppl": CorpusLevelPerplexityMetric("perplexity").compute_corpus, "acc": np.mean}


def write(name, value):
    print(f"{name}: {value:.2g}")


def main():
    generator = np.random.default_rng(0)
    losses = generator.normal(2, 0.27, 100)
    right = [1, 0] * 50
    samples = [PerplexityCorpusMetricInput(logprobs=-loss, weights=1) for loss in losses]
    logger = MetricsLogger()
    names = [f"some:{name}|0" for name in "abcd"]
    for name in names:
        logger.metrics_values[name] = {"ppl": samples, "acc": right}
    for resamples in [1000, 100]:
        logger.aggregate({name: Task() for name in names}, bootstrap_iters=resamples)
        write(f"perplexity, {resamples} resamples", logger.metric_aggregated[names[0]]["ppl_stderr"])
    means = np.exp(generator.choice(losses, (10000, 100)).mean(axis=1))
    write("perplexity, numpy", means.std())
    write("perplexity, delta method", np.exp(losses.mean()) * losses.std(ddof=1) / 10)
    write("accuracy", logger.metric_aggregated[names[0]]["acc_stderr"])
    write("accuracy, average", logger.metric_aggregated["some:_average|0"]["acc_stderr"])
    write("accuracy, numpy", np.std(right * 4, ddof=1) / 20)


if __name__ == "__main__":
    main()
PY
HF_HUB_OFFLINE=1 LIGHTEVAL_DISABLE_TQDM=1 ./venv/bin/python run.py 2> err.txt | tee seen.txt
diff seen.txt - <<'TXT'
perplexity, 1000 resamples: 0.0061
perplexity, 100 resamples: 0.018
perplexity, numpy: 0.2
perplexity, delta method: 0.2
accuracy: 0.05
accuracy, average: 0.05
accuracy, numpy: 0.025
TXT
echo "as described"
