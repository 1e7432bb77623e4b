#!/usr/bin/env bash
# onnx, reference of Attention: the scores before the soft cap that it gives are those after it.
#
# Guess of a good engineer: `qk_matmul_output_mode` is what the operator's text says, 0 the product of queries and keys, 1 the
# same after the soft cap, 2 with the mask, 3 after softmax; the reference of the standard and onnxruntime agree, which is what
# a reference is for.
# Seen with onnx 1.23.2 and onnxruntime 1.32.0, opsets 23 and 24, soft cap 2, scores of 10, 1 and -3, the last one masked:
#              onnx.reference         onnxruntime
#   mode 0     2   0.924  -1.81       10  1      -3
#   mode 1     2   0.924  -1.81       2   0.924  -1.81
#   mode 2     2   0.924  -inf        2   0.924  -3.4e+38
#   mode 3     0.746  0.254  0        0.746  0.254  0
# The reference keeps what it caps under one name, so scores of Gemma 2 that are recorded by it do not show how far the cap
# reaches. Hidden scores of onnxruntime are finite: they pass where infinite ones are left out, and a mean over them is -1e38.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cat > run.py <<'PY'
import numpy as np
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from onnxruntime import InferenceSession

inputs = {
    "query": np.ones((1, 1, 1, 1), np.float32),
    "key": np.array([10, 1, -3], np.float32).reshape(1, 1, 3, 1),
    "value": np.ones((1, 1, 3, 1), np.float32),
    "mask": np.array([[True, True, False]]),
}
kinds = {"mask": TensorProto.BOOL}


def scores(opset, mode):
    node = helper.make_node("Attention", [*inputs], ["output", "", "", "scores"], softcap=2.0, qk_matmul_output_mode=mode)
    graph = helper.make_graph(
        [node], "graph",
        [helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), array.shape) for name, array in inputs.items()],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, (1, 1, 1, 3))])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [found.run(None, inputs)[0].ravel() for found in (ReferenceEvaluator(model), session)]


for opset in [23, 24]:
    for mode in range(4):
        print(opset, mode, *("  ".join(f"{score:.3g}" for score in found) for found in scores(opset, mode)), sep=" | ")
PY
./venv/bin/python run.py | tee seen.txt
for opset in 23 24; do
  cat <<TXT
$opset | 0 | 2  0.924  -1.81 | 10  1  -3
$opset | 1 | 2  0.924  -1.81 | 2  0.924  -1.81
$opset | 2 | 2  0.924  -inf | 2  0.924  -3.4e+38
$opset | 3 | 0.746  0.254  0 | 0.746  0.254  0
TXT
done | diff seen.txt -
echo "as described"
