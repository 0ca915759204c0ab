#!/usr/bin/env python3
"""What quantisers cost a model: perplexity with the matrices of a quantised file, and with ggml's own.

    pip install torch transformers gguf
    weftctl quantize MODEL.gguf Q.gguf --type Q4_K
    python3 bench/quality/quantisers.py MODEL.gguf Q.gguf TEXT... [--ggml libggml-base.so] [--tokens 512]

MODEL is decoded to fp32 and is the source of both sides. A matrix of Q.gguf whose type differs from MODEL's
stands for Weft's quantiser; with --ggml (built from llama.cpp) the same matrices are quantised to the same types
by ggml_quantize_chunk. transformers computes everything in fp32, so nothing but the weights differs. Of each text
the first tokens are taken.
"""
import argparse
import ctypes
import math
import pathlib

import gguf
import numpy as np
import torch
from gguf.quants import dequantize
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.modeling_gguf_pytorch_utils import get_gguf_hf_weights_map, TensorProcessor


def by_ggml(library, values, kind):
    values = np.ascontiguousarray(values, dtype=np.float32)
    rows, columns = values.size // values.shape[-1], values.shape[-1]
    block, size = gguf.GGML_QUANT_SIZES[kind]
    out = np.empty(values.size // block * size, np.uint8)
    library.ggml_quantize_chunk(int(kind), values.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p),
                                ctypes.c_int64(0), ctypes.c_int64(rows), ctypes.c_int64(columns), None)
    return dequantize(out.reshape(rows, -1), kind).reshape(values.shape)


@torch.no_grad()
def perplexity(model, texts):
    loss, count = 0.0, 0
    for ids in texts:
        logits = torch.log_softmax(model(torch.tensor([ids])).logits[0, :-1].float(), -1)
        loss -= logits[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].sum().item()
        count += len(ids) - 1
    return math.exp(loss / count)


class Swapper:
    """Puts matrices of a GGUF file into the model that transformers made of another."""

    def __init__(self, model, original):
        self.kinds = {t.name: t.tensor_type for t in original.tensors}
        names = get_gguf_hf_weights_map(model, TensorProcessor(model.config.to_dict()))
        self.targets = {name: model.get_parameter(target) for name, target in names.items()
                        if name in self.kinds and name.endswith(".weight")}
        # Rotating rows lie in another order here, which quantising by rows does not see.
        self.heads = {"attn_q": model.config.num_attention_heads, "attn_k": model.config.num_key_value_heads}
        self.permuted = model.config.model_type in ("llama", "mistral", "mixtral")

    def put(self, name, values):
        target = self.targets[name]
        part = name.split(".")[-2]
        if self.permuted and part in self.heads:
            rows, columns = values.shape
            values = values.reshape(self.heads[part], rows // self.heads[part] // 2, 2, columns)
            values = values.swapaxes(1, 2).reshape(rows, columns)
        target.data.copy_(torch.from_numpy(np.ascontiguousarray(values)))


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("model", type=pathlib.Path)
    arguments.add_argument("quantised")
    arguments.add_argument("text", nargs="+", type=pathlib.Path)
    arguments.add_argument("--ggml")
    arguments.add_argument("--tokens", type=int, default=512)
    options = arguments.parse_args()
    source = {"pretrained_model_name_or_path": options.model.parent, "gguf_file": options.model.name}
    model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(**source)
    texts = [tokenizer(text.read_text())["input_ids"][:options.tokens] for text in options.text]
    base = perplexity(model, texts)
    print(f"original: {base:.4f}", flush=True)
    original = gguf.GGUFReader(options.model)
    values = {t.name: t for t in original.tensors}
    swapper = Swapper(model, original)
    changed = [t for t in gguf.GGUFReader(options.quantised).tensors
               if t.name in swapper.targets and t.tensor_type != swapper.kinds[t.name]]
    sides = [("Weft", lambda t: dequantize(t.data, t.tensor_type))]
    if options.ggml:
        library = ctypes.CDLL(options.ggml)
        sides.append(("ggml", lambda t: by_ggml(
            library, dequantize(values[t.name].data, values[t.name].tensor_type), t.tensor_type)))
    for side, matrix in sides:
        for tensor in changed:
            swapper.put(tensor.name, matrix(tensor))
        found = perplexity(model, texts)
        print(f"{side}: {found:.4f}, {100 * (found / base - 1):+.2f} %, {len(changed)} matrices", flush=True)


if __name__ == "__main__":
    main()
