"""Writes the expected token ids of Gemma 3: tests/fixtures/tokenizer/gemma.json.

    python tools/goldens/gemma_tokenizer.py --models FOLDER --data FOLDER

Encodes with the tokenizer that transformers builds from gemma-3-270m-q4_k_m.gguf: `own` are the ids of lines.json,
`data` hashes of the ids of the lines that data_lines.json names, in their order (see tokenizer.py), and `pieces` the ids
that SentencePiece itself gives for lines.json, from a model with the pieces, types and scores of the file.
"""

import argparse
import json
import pathlib

import gguf
import sentencepiece
import tokenizers
import transformers
from sentencepiece import sentencepiece_model_pb2 as proto
from tokenizer import FIXTURES, hash_ids

FILE = "gemma-3-270m-q4_k_m.gguf"


def sentence_piece(path):
    """SentencePiece with the vocabulary of the file."""
    reader = gguf.GGUFReader(path)
    field = lambda name: reader.fields[f"tokenizer.ggml.{name}"].contents()
    model = proto.ModelProto()
    for piece, score, kind in zip(field("tokens"), field("scores"), field("token_type")):
        # llama.cpp's converter writes the spaces of user-defined pieces as such.
        spelled = piece.replace(" ", "\u2581") if kind == gguf.TokenType.USER_DEFINED else piece
        model.pieces.add(piece=spelled, score=score, type=int(kind))
    model.trainer_spec.model_type = proto.TrainerSpec.BPE
    model.trainer_spec.byte_fallback = True
    model.trainer_spec.pad_id, model.trainer_spec.eos_id = 0, 1
    model.trainer_spec.bos_id, model.trainer_spec.unk_id = 2, 3
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = False
    model.normalizer_spec.remove_extra_whitespaces = False
    return sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=pathlib.Path, required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    loaded = transformers.AutoTokenizer.from_pretrained(str(arguments.models), gguf_file=FILE)
    encode = lambda text: loaded.backend_tokenizer.encode(text).ids
    own = json.loads((FIXTURES / "lines.json").read_text())
    rows = json.loads((FIXTURES / "data_lines.json").read_text())["rows"]
    texts = {}
    hashes = []
    for name, number, *_ in rows:
        if name not in texts:
            texts[name] = (arguments.data / name).read_bytes().decode("utf-8").split("\n")
        hashes.append(hash_ids(encode(texts[name][number])))
    pieces = sentence_piece(arguments.models / FILE)
    value = {
        "made_with": {
            "transformers": transformers.__version__, "tokenizers": tokenizers.__version__,
            "sentencepiece": sentencepiece.__version__,
        },
        "own": [encode(text) for text in own],
        "pieces": [pieces.encode(text) for text in own],
        "data": hashes,
    }
    text = json.dumps(value, separators=(",", ":")).replace("],[", "],\n[")
    (FIXTURES / "gemma.json").write_text(text + "\n")
    same = sum(a[1:] == b for a, b in zip(value["own"], value["pieces"]))
    print(f"{same} of {len(own)} lines have the same ids in SentencePiece")


if __name__ == "__main__":
    main()
