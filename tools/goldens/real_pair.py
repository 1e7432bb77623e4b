"""Writes what real models answer: tests/fixtures/real/NAME.safetensors.gz.

    python tools/goldens/real_pair.py --models FOLDER [NAME ...]

Loads each GGUF file with transformers in float32 with eager attention, runs it on the prompts of
prompts.json, and stores for every prompt P:

    P.tokens      i32 [positions]                  token ids, which the tests feed as they are
    P.counts      i32 [positions]                  stored tokens of each next-token distribution
    P.ids         i32 [sum of counts]              their ids, most probable first
    P.logprobs    f16 [sum of counts]              their log-probabilities
    P.heads       i32 [maps, 2]                    layer and query head of each stored map
    P.maps        f16 [maps, positions, positions] attention after softmax
    P.accumulated f32 [layers * heads, positions]  column sums of attention, all heads

A distribution is stored up to 0.999 of its mass, 20 to 256 tokens; the rest counts as one bucket.
Column sums are rounded to 12 bits of mantissa so that they compress.
"""

import argparse
import gzip
import json
import pathlib

import numpy
import safetensors.numpy
import torch
import transformers

FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "real"
MODELS = {
    "qwen2.5-coder-0.5b": "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    "qwen2.5-coder-1.5b": "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    "smollm2-135m": "SmolLM2-135M-Instruct.Q4_1.gguf",
}
POSITIONS = 64
MAPS = 4  # per prompt, spread over layers and heads
MASS = 0.999
FEWEST, MOST = 20, 256


def rounded(values, bits=12):
    """float32 with the mantissa rounded to so many bits."""
    drop = 23 - bits
    words = values.astype(numpy.float32).view(numpy.uint32)
    return ((words + (1 << (drop - 1))) >> drop << drop).view(numpy.float32)


def stored_tokens(log_probabilities):
    """Ids and log-probabilities of the tokens that carry the mass, most probable first."""
    order = numpy.argsort(-log_probabilities, kind="stable")[:MOST]
    mass = numpy.cumsum(numpy.exp(log_probabilities[order].astype(numpy.float64)))
    count = min(MOST, max(FEWEST, int(numpy.searchsorted(mass, MASS)) + 1))
    return order[:count].astype(numpy.int32), log_probabilities[order[:count]]


def chosen_heads(layers, heads, prompt):
    """A few heads, others for each prompt."""
    return [
        (layer, (3 * layer + prompt) % heads)
        for layer in sorted({(i * (layers - 1)) // (MAPS - 1) for i in range(MAPS)})
    ]


def answers(model, tokens, prompt):
    """The tensors of one prompt."""
    with torch.no_grad():
        output = model(torch.tensor([tokens]), output_attentions=True)
    log_probabilities = torch.log_softmax(output.logits[0].double(), -1).float().numpy()
    stored = [stored_tokens(row) for row in log_probabilities]
    attention = [layer[0].numpy() for layer in output.attentions]
    heads = chosen_heads(len(attention), attention[0].shape[0], prompt)
    return {
        "tokens": numpy.array(tokens, numpy.int32),
        "counts": numpy.array([len(ids) for ids, _ in stored], numpy.int32),
        "ids": numpy.concatenate([ids for ids, _ in stored]),
        "logprobs": numpy.concatenate([values for _, values in stored]).astype(numpy.float16),
        "heads": numpy.array(heads, numpy.int32),
        "maps": numpy.stack([attention[l][h] for l, h in heads]).astype(numpy.float16),
        "accumulated": rounded(
            numpy.concatenate([layer.sum(1, dtype=numpy.float64) for layer in attention])
        ),
    }


def write(name, folder):
    file = MODELS[name]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=file)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=file, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    tensors = {}
    for index, (prompt, text) in enumerate(json.loads((FIXTURES / "prompts.json").read_text()).items()):
        tokens = tokenizer.encode(text, add_special_tokens=False)[:POSITIONS]
        if len(tokens) < POSITIONS:
            raise ValueError(f"Prompt {prompt} has {len(tokens)} tokens for {name}")
        for key, value in answers(model, tokens, index).items():
            tensors[f"{prompt}.{key}"] = numpy.ascontiguousarray(value)
    metadata = {
        "model": file,
        "versions": f"transformers {transformers.__version__}, torch {torch.__version__}",
        "tied": str(model.config.tie_word_embeddings),
    }
    target = FIXTURES / f"{name}.safetensors.gz"
    target.write_bytes(gzip.compress(safetensors.numpy.save(tensors, metadata), 9, mtime=0))
    print(target.name, target.stat().st_size, metadata)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", required=True)
    parser.add_argument("names", nargs="*", default=list(MODELS))
    arguments = parser.parse_args()
    for name in arguments.names or MODELS:
        write(name, arguments.models)


if __name__ == "__main__":
    main()
