#!/usr/bin/env bash
# transformers.js: options of generation that its documentation lists, nucleus sampling and beams among them, do nothing.
#
# Guess of a good engineer: what `GenerationConfig` lists and explains is done, as in Python, or refused: `top_p` keeps the
# smallest set of tokens whose probabilities reach it, `num_beams` finds more probable texts than greedy decoding.
# Seen with @huggingface/transformers 4.3.2, a table of probabilities as the model; onnx 1.23.2 writes it:
#   1000 samples of tokens with 0.5, 0.2, 0.2, 0.08 and 0.02       all five came
#     with top_k=2                                                 two of them
#     with top_p=0.4, typical_p=0.1 or epsilon_cutoff=0.3          all five, where only the first should
#   greedy: a token of 0.6, then one of 1/8                        the same with num_beams=4, though 0.4, then 1 is likelier
#   num_return_sequences=3 while sampling                          one sequence
# Nothing is printed. A model's generation_config.json is read with the same code: of "top_k": 20 and "top_p": 0.8, as Qwen's
# have, only the first counts, so texts are sampled from other distributions than in Python.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check onnx==1.23.2 numpy==2.4.6
npm install --silent --no-audit --no-fund --ignore-scripts @huggingface/transformers@4.3.2
mkdir -p table/onnx
cat > table/config.json <<'JSON'
{
  "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 8,
  "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "hidden_size": 8
}
JSON
cat > make.py <<'PY'
import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

table = np.zeros((8, 8))  # probabilities after each token
table[:5, :5] = [0.5, 0.2, 0.2, 0.08, 0.02]
table[5, 6:] = [0.6, 0.4]
table[6] = 1 / 8
table[7, 5] = 1
logits = numpy_helper.from_array(np.log(np.maximum(table, 1e-9)).astype(np.float32), "table")
tokens = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])
output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "tokens", 8])
look_up = helper.make_node("Gather", ["table", "input_ids"], ["logits"])
graph = helper.make_graph([look_up], "table", [tokens], [output], [logits])
save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), "table/onnx/model.onnx")
PY
cat > run.mjs <<'JS'
import { AutoModelForCausalLM, env, random, Tensor } from "@huggingface/transformers";

env.allowRemoteModels = false;
env.localModelPath = `${process.cwd()}/`;
const model = await AutoModelForCausalLM.from_pretrained("table", { dtype: "fp32" });
random.seed(0);

async function generate(first, options) {
  const input_ids = new Tensor("int64", [BigInt(first)], [1, 1]);
  const attention_mask = new Tensor("int64", [1n], [1, 1]);
  return (await model.generate({ input_ids, attention_mask, ...options })).tolist();
}

const options = [{}, { top_k: 2 }, { top_p: 0.4 }, { typical_p: 0.1 }, { epsilon_cutoff: 0.3 }];
for (const option of options) {
  const [[, ...found]] = await generate(0, { do_sample: true, max_new_tokens: 1000, ...option });
  console.log(JSON.stringify(option), new Set(found).size, "tokens");
}
for (const option of [{}, { num_beams: 4 }]) {
  const [found] = await generate(5, { max_new_tokens: 2, ...option });
  console.log(JSON.stringify(option), found.slice(0, 2).join(" then "));
}
const sequences = await generate(0, { do_sample: true, max_new_tokens: 2, num_return_sequences: 3 });
console.log(sequences.length, "of 3 sequences");
JS
./venv/bin/python make.py
node run.mjs | tee seen.txt
diff seen.txt - <<'TXT'
{} 5 tokens
{"top_k":2} 2 tokens
{"top_p":0.4} 5 tokens
{"typical_p":0.1} 5 tokens
{"epsilon_cutoff":0.3} 5 tokens
{} 5 then 6
{"num_beams":4} 5 then 6
1 of 3 sequences
TXT
echo "as described"
