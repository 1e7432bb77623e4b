"""Runs transformers on token ids and writes what it computes, for `deno task verify`.

    python tools/verify/reference.py --model MODEL --tokens TOKENS.json --out FILE.safetensors
        [--config FOLDER | --reference FOLDER] [--dtype float32]

TOKENS.json holds {"text": ..., "tokens": [...]}; the file gets

    logits     f32 [tokens, vocabulary]
    attention  f32 [layers * heads, tokens, tokens]  after softmax, eager attention

and the last line of standard output is JSON: versions, and whether transformers' tokenizer makes the same ids of the
text. Exit code 3: packages are missing, and the JSON lists them. Exit code 4: this model cannot be compared in this
way, and the JSON says why.

transformers reads some of a GGUF file only: it ignores keys and tensors that it does not know, and gives weights that
the file lacks random values. So every key is compared with the configuration that transformers made of the file, and
every tensor must have a place in the model. Where that fails, `--config` names a folder whose config.json says what
transformers does not read, for the weights of the file, or `--reference` another model that is run in its place.
"""

import argparse
import importlib.util
import json
import pathlib
import sys

PACKAGES = ["numpy", "safetensors", "torch", "transformers"]
GGUF_PACKAGES = ["accelerate", "gguf"]

# Keys of GGUF metadata, without the family's name, and the fields that hold the same in transformers' configurations.
FIELDS = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.value_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.sliding_window": "sliding_window",
    "attention.scale": "attention_multiplier",
    "rope.dimension_count": "head_dim",
    "rope.freq_base": "rope_theta",
    "rope.freq_base_swa": "rope_local_base_freq",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
    "embedding_scale": "embedding_multiplier",
    "residual_scale": "residual_multiplier",
    "logit_scale": "logits_scaling",
    "vocab_size": "vocab_size",
}
# Keys that change no result, or none of a text that fits the context.
WITHOUT_EFFECT = {"context_length", "rope.scaling.finetuned"}
ROPE_FACTORS = "rope_freqs.weight"


def answer(code, **values):
    print(json.dumps(values))
    sys.exit(code)


def refuse(requirement, state):
    answer(4, requirement=requirement, state=state)


def missing_packages(is_gguf):
    wanted = PACKAGES + (GGUF_PACKAGES if is_gguf else [])
    return [name for name in wanted if importlib.util.find_spec(name) is None]


def config_value(config, name):
    """A field of a configuration, under its present or former name; None if it has none."""
    rope = getattr(config, "rope_parameters", None) or {}
    full = rope.get("full_attention", rope)
    if name == "rope_theta":
        return full.get("rope_theta", getattr(config, name, None))
    if name == "rope_local_base_freq":
        return rope.get("sliding_attention", {}).get("rope_theta", getattr(config, name, None))
    if name == "head_dim":
        return getattr(config, name, None) or config.hidden_size // config.num_attention_heads
    return getattr(config, name, None)


def rope_type(config):
    rope = getattr(config, "rope_parameters", None) or {}
    return rope.get("full_attention", rope).get("rope_type", "default")


def has_same(config, key, value, tokens):
    """Whether a configuration says what a key of the file says."""
    if key in WITHOUT_EFFECT or (key == "rope.scaling.type" and value == "none"):
        return True
    if key.startswith("rope.scaling."):
        # Only a folder can have said it: transformers does not read these keys.
        return rope_type(config) != "default"
    if key == "attention.causal":
        return value is True
    if key not in FIELDS:
        return False
    expected = config_value(config, FIELDS[key])
    if key == "attention.sliding_window" and expected is None and tokens <= value:
        return True
    values = set(value) if isinstance(value, list) else {value}
    return expected is not None and all(abs(one - expected) <= 1e-6 * abs(expected) for one in values)


def check_metadata(reader, config, tokens):
    """Refuses a file that says something else than the configuration."""
    family = reader.fields["general.architecture"].contents()
    differing = []
    for name, field in reader.fields.items():
        if not name.startswith(f"{family}."):
            continue
        key, value = name[len(family) + 1 :], field.contents()
        if not has_same(config, key, value, tokens):
            differing.append(f"{key} = {value}")
    if not differing:
        return
    refuse(
        "transformers must read all that the file says, or --config name a folder whose config.json says it "
        "(or --reference the model in safetensors)",
        f"keys that it ignores or reads otherwise are {', '.join(differing)}",
    )


def check_tensors(reader, model, config, info):
    """Refuses a file with tensors that have no place in the model, and a model with weights that the file lacks."""
    lacking = sorted(set(info["missing_keys"]) - {"lm_head.weight"})
    if lacking or ("lm_head.weight" in info["missing_keys"] and not config.tie_word_embeddings):
        refuse("the file must hold all weights of the model", f"missing ones are {', '.join(lacking or ['lm_head.weight'])}")
    # A rotation that the configuration describes needs no factors from the file.
    ignored = {ROPE_FACTORS} if rope_type(config) != "default" else set()
    stored = {tensor.name: int(tensor.n_elements) for tensor in reader.tensors if tensor.name not in ignored}
    used = sum({id(one): one.numel() for one in model.parameters()}.values())
    if sum(stored.values()) == used:
        return
    names = [name for name in stored if name == ROPE_FACTORS or name.endswith(".bias")]
    refuse(
        "transformers must use all tensors of the file, or --config name a folder whose config.json asks for them "
        "(or --reference the model in safetensors)",
        f"elements are {sum(stored.values())} in the file and {used} in the model; it may ignore "
        f"{', '.join(names[:4]) or 'any'}{' and so on' if len(names) > 4 else ''}",
    )


def load_gguf(path, arguments, tokens):
    """The model of a GGUF file, or of its weights with the configuration of a folder."""
    import gguf
    import torch
    import transformers

    place = {"gguf_file": path.name}
    try:
        config = (
            transformers.AutoConfig.from_pretrained(path.parent, **place)
            if arguments.config is None
            else transformers.AutoConfig.from_pretrained(arguments.config)
        )
    except ValueError as error:
        refuse("transformers must read GGUF files of this family, or --reference name the model in safetensors", f"error is {error}")
    reader = gguf.GGUFReader(path)
    check_metadata(reader, config, tokens)
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, **place, config=config, dtype=getattr(torch, arguments.dtype),
        attn_implementation="eager", output_loading_info=True,
    )
    check_tensors(reader, model, config, info)
    return model


def load_folder(folder, arguments):
    import torch
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder)
    # Some models that read images are not listed as language models.
    is_listed = type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING
    auto = transformers.AutoModelForCausalLM if is_listed else transformers.AutoModelForImageTextToText
    model, info = auto.from_pretrained(
        folder, dtype=getattr(torch, arguments.dtype), attn_implementation="eager", output_loading_info=True
    )
    if info["missing_keys"]:
        refuse("the folder must hold all weights of the model", f"missing ones are {', '.join(sorted(info['missing_keys']))}")
    return model


def tokenizer_answer(path, arguments, given):
    """Whether transformers' tokenizer makes the ids that were given; None, with the reason, where it cannot say."""
    import transformers

    if given["text"] is None:
        return {"agrees": None, "reason": "token ids were given"}
    folder = arguments.reference or arguments.config
    place = {} if folder or path.suffix != ".gguf" else {"gguf_file": path.name}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder or (path.parent if path.is_file() else path), **place)
        ids = tokenizer.encode(given["text"])[: len(given["tokens"])]
    except Exception as error:  # Which errors there are depends on the tokenizer.
        return {"agrees": None, "reason": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
    pairs = zip(ids, given["tokens"], strict=False)
    first = next((at for at, (theirs, ours) in enumerate(pairs) if theirs != ours), min(len(ids), len(given["tokens"])))
    if first == len(given["tokens"]):
        return {"agrees": True}
    return {"agrees": False, "reason": f"transformers has {ids[first:first + 3]} from token {first} on"}


def run(model, tokens, out):
    import safetensors.numpy
    import torch

    with torch.no_grad():
        output = model(torch.tensor([tokens]), output_attentions=True, use_cache=False)
    tensors = {
        "logits": output.logits[0].float().numpy(),
        "attention": torch.cat([layer[0] for layer in output.attentions]).float().contiguous().numpy(),
    }
    safetensors.numpy.save_file(tensors, out)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--tokens", type=pathlib.Path, required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--config", type=pathlib.Path)
    parser.add_argument("--reference", type=pathlib.Path)
    parser.add_argument("--dtype", default="float32")
    arguments = parser.parse_args()
    path = arguments.model
    is_gguf = path.suffix == ".gguf" and arguments.reference is None
    missing = missing_packages(is_gguf)
    if missing:
        answer(3, missing=missing)
    import torch
    import transformers

    given = json.loads(arguments.tokens.read_text())
    if is_gguf:
        model = load_gguf(path, arguments, len(given["tokens"]))
    else:
        model = load_folder(arguments.reference or (path.parent if path.is_file() else path), arguments)
    run(model.eval(), given["tokens"], arguments.out)
    answer(
        0,
        transformers=transformers.__version__,
        torch=torch.__version__.split("+")[0],
        tokenizer=tokenizer_answer(path, arguments, given),
    )


if __name__ == "__main__":
    main()
