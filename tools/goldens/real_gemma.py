"""Writes what Gemma 3 270M answers: tests/fixtures/real/gemma-3-270m.safetensors.gz.

    python tools/goldens/real_gemma.py --models FOLDER [--compare EXTRACTED]

The blocks of gemma-3-270m-q4_k_m.gguf are unpacked by the gguf package into a model of transformers, in float32
with eager attention. Reading the file is not left to transformers, whose reader drops scalings of the rotation
without a word. The text is longer than the window of 512 tokens. Stored are, as in real_pair.py,

    tokens      i32 [positions]                  token ids, the begin token first
    counts      i32 [positions]                  stored tokens of each next-token distribution
    ids         i32 [sum of counts]              their ids, most probable first
    logprobs    f16 [sum of counts]              their log-probabilities
    accumulated f32 [layers * heads, positions]  column sums of attention, all heads

A distribution is stored up to 0.99 of its mass, 8 to 96 tokens. For the exact divergence over all 262,144 tokens,
write the product's logits for the stored tokens to a file and compare it:

    deno task extract --model FOLDER/gemma-3-270m-q4_k_m.gguf --tokens TOKENS.json --logits --accumulated --out EXTRACTED

With `--tokens TOKENS.json` this script writes the ids for that command. The model's terms do not allow
passing the file on; the fixture holds none of its weights.
"""

import argparse
import gzip
import json
import pathlib

import gguf
import numpy
import safetensors.numpy
import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIXTURE = ROOT / "tests" / "fixtures" / "real" / "gemma-3-270m.safetensors.gz"
FILE = "gemma-3-270m-q4_k_m.gguf"
TEXTS = ["docs/method.md", "kernels/rms_norm.ts"]
POSITIONS = 640
MASS = 0.99
FEWEST, MOST = 8, 96

NAMES = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
    "attn_norm": "input_layernorm", "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm", "post_ffw_norm": "post_feedforward_layernorm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}


def name_of(name):
    if name.startswith("blk."):
        _, layer, stem, end = name.split(".")
        return f"model.layers.{layer}.{NAMES[stem]}.{end}"
    return {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}[name]


def load(path):
    """The model, and the texts of its tokens."""
    reader = gguf.GGUFReader(path)
    field = lambda name: reader.fields[f"gemma3.{name}"].contents()
    config = transformers.Gemma3TextConfig(
        vocab_size=262144, hidden_size=field("embedding_length"), num_hidden_layers=field("block_count"),
        intermediate_size=field("feed_forward_length"), num_attention_heads=field("attention.head_count"),
        num_key_value_heads=field("attention.head_count_kv"), head_dim=field("attention.key_length"),
        rms_norm_eps=field("attention.layer_norm_rms_epsilon"), sliding_window=field("attention.sliding_window"),
        query_pre_attn_scalar=field("attention.key_length"), max_position_embeddings=field("context_length"),
        rope_parameters={
            "full_attention": {"rope_type": "default", "rope_theta": field("rope.freq_base")},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        },
    )
    weights = {}
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32)
        # transformers adds 1 to the weights of norms; files include it.
        weights[name_of(tensor.name)] = torch.from_numpy(values - 1 if "norm" in tensor.name else values)
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    config._attn_implementation = "eager"
    model = transformers.Gemma3ForCausalLM(config)
    model.load_state_dict(weights)
    return model.float().eval()


def rounded(values, bits=12):
    """float32 with the mantissa rounded to so many bits."""
    drop = 23 - bits
    words = values.astype(numpy.float32).view(numpy.uint32)
    return ((words + (1 << (drop - 1))) >> drop << drop).view(numpy.float32)


def stored_tokens(log_probabilities):
    """Ids and log-probabilities of the tokens that carry the mass, most probable first."""
    order = numpy.argpartition(-log_probabilities, MOST)[:MOST]
    order = order[numpy.argsort(-log_probabilities[order], kind="stable")]
    mass = numpy.cumsum(numpy.exp(log_probabilities[order].astype(numpy.float64)))
    count = min(MOST, max(FEWEST, int(numpy.searchsorted(mass, MASS)) + 1))
    return order[:count].astype(numpy.int32), log_probabilities[order[:count]]


def token_ids(folder):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=FILE)
    text = "\n".join((ROOT / path).read_text()[:1800] for path in TEXTS)
    return tokenizer.encode(text)[:POSITIONS]


def compare(path, log_probabilities, accumulated):
    """Prints how a file of `deno task extract` differs from the reference."""
    ours = safetensors.numpy.load_file(path)
    logits = torch.from_numpy(ours["logits"])
    divergences, compared, same = [], 0, 0
    for row, expected in zip(logits, log_probabilities):
        actual = torch.log_softmax(row.double(), -1)
        divergences.append(float((expected.exp() * (expected - actual)).sum()))
        best = expected.topk(2)
        if best.values[0] - best.values[1] > 0.1:
            compared += 1
            same += int(actual.argmax() == best.indices[0])
    sums = ours["accumulated"].reshape(accumulated.shape)
    error = (numpy.abs(sums - accumulated).max(1) / accumulated.max(1)).max()
    print(f"KL {numpy.mean(divergences):.2e} (largest {max(divergences):.2e}), top-1 {same}/{compared}, column sums {error:.2e}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", required=True)
    parser.add_argument("--tokens", help="write the token ids to this file and end")
    parser.add_argument("--compare", help="a file of deno task extract for the same tokens")
    arguments = parser.parse_args()
    tokens = token_ids(arguments.models)
    if arguments.tokens:
        pathlib.Path(arguments.tokens).write_text(json.dumps(tokens))
        return
    model = load(f"{arguments.models}/{FILE}")
    with torch.no_grad():
        output = model(torch.tensor([tokens]), output_attentions=True)
    log_probabilities = torch.log_softmax(output.logits[0].double(), -1)
    accumulated = numpy.concatenate([layer[0].double().sum(1).numpy() for layer in output.attentions])
    if arguments.compare:
        compare(arguments.compare, log_probabilities, accumulated)
        return
    stored = [stored_tokens(row.float().numpy()) for row in log_probabilities]
    tensors = {
        "tokens": numpy.array(tokens, numpy.int32),
        "counts": numpy.array([len(ids) for ids, _ in stored], numpy.int32),
        "ids": numpy.concatenate([ids for ids, _ in stored]),
        "logprobs": numpy.concatenate([values for _, values in stored]).astype(numpy.float16),
        "accumulated": rounded(accumulated),
    }
    versions = f"transformers {transformers.__version__}, torch {torch.__version__}, gguf 0.19.0"
    data = safetensors.numpy.save(tensors, {"model": FILE, "versions": versions})
    FIXTURE.write_bytes(gzip.compress(data, 9, mtime=0))
    print(FIXTURE.name, FIXTURE.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
