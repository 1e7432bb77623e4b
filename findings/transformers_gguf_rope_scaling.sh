#!/usr/bin/env bash
# transformers reads GGUF files without the scaling of their rotations: Llama 3.1's, YaRN's and Gemma 3's.
#
# Guess of a good engineer: `from_pretrained(folder, gguf_file=...)` applies what the file says about its rotation, as
# llama.cpp does, or warns that it does not: without it every position beyond the first is rotated by other angles.
# Seen with transformers 5.24.0, gguf 0.19.0 and torch 2.15.0, tiny random models, logits with and without the entry:
#   llama   tensor rope_freqs.weight, which is all that a file of Llama 3.1 to 3.3 has   the same logits
#   llama   rope.scaling.type=linear, factor 8                                           the same logits
#   qwen2   rope.scaling.type=yarn, factor 4                                             the same logits
#   gemma3  rope.scaling.type=linear, factor 8, as files of 4B and more have             the same logits
#   gemma2  attn_logit_softcapping and final_logit_softcapping of 1                      the same logits
#   gemma2  attention.sliding_window=16                                                  other logits
# Nothing is printed, even about keys of the file that are not known; `config` shows "rope_type": "default".
# This project reads all of these (models/gguf/gguf_config.ts), so its logits differ from such a model's in transformers.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
./venv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
./venv/bin/uv pip install --quiet --python venv/bin/python transformers==5.24.0 torch==2.15.0 gguf==0.19.0 \
  accelerate==1.15.0
cat > run.py <<'PY'
import numpy as np
import torch
from gguf import GGUFWriter, RopeScalingType
from transformers import AutoModelForCausalLM

torch.set_num_threads(1)
LAYERS, HIDDEN, HEAD = 6, 64, 32  # of two query heads and one of keys; the sixth layer of gemma3 sees all tokens


def write(family, add=None, factors=None):
    writer, random = GGUFWriter("model.gguf", family), np.random.default_rng(0)
    writer.add_name("tiny")
    writer.add_context_length(512)
    writer.add_block_count(LAYERS)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_vocab_size(HIDDEN)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_rope_dimension_count(HEAD)
    writer.add_rope_freq_base(1e4)
    writer.add_layer_norm_rms_eps(1e-6)
    if add:
        add(writer)

    def tensor(name, *shape):
        values = 0.2 * random.standard_normal(shape) if len(shape) == 2 or name.endswith("bias") else np.ones(shape)
        writer.add_tensor(name, values.astype(np.float32))

    tensor("token_embd.weight", HIDDEN, HIDDEN)
    tensor("output_norm.weight", HIDDEN)
    for layer in range(LAYERS):
        rows = dict(attn_q=2 * HEAD, attn_k=HEAD, attn_v=HEAD)
        for name in ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]:
            tensor(f"blk.{layer}.{name}.weight", rows.get(name, HIDDEN), HIDDEN)
            if family == "qwen2" and name in rows:
                tensor(f"blk.{layer}.{name}.bias", rows[name])
        more = ["post_attention_norm", "post_ffw_norm"] if family.startswith("gemma") else []
        for name in ["attn_norm", "ffn_norm", *more]:
            tensor(f"blk.{layer}.{name}.weight", HIDDEN)
        if family == "gemma3":
            tensor(f"blk.{layer}.attn_q_norm.weight", HEAD)
            tensor(f"blk.{layer}.attn_k_norm.weight", HEAD)
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", factors)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@torch.no_grad()
def logits(family, **entries):
    write(family, **entries)
    model = AutoModelForCausalLM.from_pretrained(".", gguf_file="model.gguf", dtype=torch.float32)
    return model(torch.arange(3, 99).remainder(HIDDEN)[None]).logits


def scaling(kind, factor):
    def add(writer):
        writer.add_rope_scaling_type(kind)
        writer.add_rope_scaling_factor(factor)
        writer.add_rope_scaling_orig_ctx_len(64)
    return dict(add=add)


def caps(writer):
    writer.add_attn_logit_softcapping(1.0)
    writer.add_final_logit_softcapping(1.0)


for family, name, entries in [
    ("llama", "rope_freqs", dict(factors=np.linspace(1, 8, HEAD // 2, dtype=np.float32))),
    ("llama", "linear", scaling(RopeScalingType.LINEAR, 8.0)),
    ("qwen2", "yarn", scaling(RopeScalingType.YARN, 4.0)),
    ("gemma3", "linear", scaling(RopeScalingType.LINEAR, 8.0)),
    ("gemma2", "softcapping", dict(add=caps)),
    ("gemma2", "sliding_window", dict(add=lambda writer: writer.add_sliding_window(16))),
]:
    print(family, name, "same" if torch.equal(logits(family), logits(family, **entries)) else "other")
PY
./venv/bin/python run.py 2> log.txt | tee seen.txt
diff seen.txt - <<'TXT'
llama rope_freqs same
llama linear same
qwen2 yarn same
gemma3 linear same
gemma2 softcapping same
gemma2 sliding_window other
TXT
echo "as described"
