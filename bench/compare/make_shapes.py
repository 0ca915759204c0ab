#!/usr/bin/env python3
"""Writes GGUF files with the shapes of real models and random weights: for speed, not for text.

    python3 bench/compare/make_shapes.py qwen2.5-coder-1.5b q4_k FILE.gguf     (needs PyPI gguf, numpy)

Shapes: those of the models' config.json. Types: q4_k (as llama.cpp's Q4_K_S: every matrix Q4_K, the
output Q6_K) and q8_0. The architecture is llama, which every engine computes with the same kernels as
the family's own; --layers takes only so many. Blocks are random bits under small scales; the
vocabulary is of dummy tokens.
"""
import argparse
import sys

import gguf
import numpy as np

SHAPES = {
    "smollm2-135m": dict(hidden=576, ffn=1536, layers=30, heads=9, kv_heads=3, vocab=49152, tied=True),
    "qwen2.5-coder-1.5b": dict(hidden=1536, ffn=8960, layers=28, heads=12, kv_heads=2, vocab=151936,
                               tied=True),
    "qwen2.5-coder-7b": dict(hidden=3584, ffn=18944, layers=28, heads=28, kv_heads=4, vocab=152064,
                             tied=False),
}
Type = gguf.GGMLQuantizationType
BLOCK_BYTES = {Type.Q4_K: 144, Type.Q6_K: 210, Type.Q8_0: 34}
BLOCK = {Type.Q4_K: 256, Type.Q6_K: 256, Type.Q8_0: 32}


def blocks(random, kind, rows, cols):
    """[rows, bytes] of random blocks whose values have a root mean square near 0.02."""
    count = rows * cols // BLOCK[kind]
    out = random.integers(0, 256, (count, BLOCK_BYTES[kind]), dtype=np.uint8)

    def put(at, value):
        out[:, at:at + 2] = np.full(count, value, np.float16).view(np.uint8).reshape(count, 2)

    if kind == Type.Q4_K:
        put(0, 1e-4)
        put(2, 7.5e-4)
    elif kind == Type.Q6_K:
        put(208, 1.5e-5)
    else:
        put(0, 2.7e-4)
    return out.reshape(rows, -1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("type", choices=["q4_k", "q8_0"])
    parser.add_argument("file")
    parser.add_argument("--layers", type=int)
    args = parser.parse_args()
    shape = SHAPES[args.shape]
    layers = args.layers or shape["layers"]
    hidden, ffn, vocab = shape["hidden"], shape["ffn"], shape["vocab"]
    kv_width = hidden // shape["heads"] * shape["kv_heads"]
    kind = Type.Q4_K if args.type == "q4_k" else Type.Q8_0
    top = Type.Q6_K if args.type == "q4_k" else Type.Q8_0
    random = np.random.default_rng(1)

    writer = gguf.GGUFWriter(args.file, "llama", use_temp_file=False)
    writer.add_name(f"{args.shape} shapes, random weights")
    writer.add_context_length(32768)
    writer.add_embedding_length(hidden)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(ffn)
    writer.add_head_count(shape["heads"])
    writer.add_head_count_kv(shape["kv_heads"])
    writer.add_rope_dimension_count(hidden // shape["heads"])
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(vocab)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    byte_tokens = [bytes([b]).decode("latin-1") for b in range(256)]
    writer.add_token_list(byte_tokens + [f"t{i}" for i in range(256, vocab)])
    writer.add_token_merges(["t 2"])
    writer.add_token_types([1] * vocab)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)

    matrices = [("token_embd", vocab, hidden, top)]
    if not shape["tied"]:
        matrices.append(("output", vocab, hidden, top))
    for i in range(layers):
        for name, rows, cols in (("attn_q", hidden, hidden), ("attn_k", kv_width, hidden),
                                 ("attn_v", kv_width, hidden), ("attn_output", hidden, hidden),
                                 ("ffn_gate", ffn, hidden), ("ffn_up", ffn, hidden),
                                 ("ffn_down", hidden, ffn)):
            matrices.append((f"blk.{i}.{name}", rows, cols, kind))
    vectors = ["output_norm"] + [f"blk.{i}.{n}" for i in range(layers) for n in ("attn_norm", "ffn_norm")]
    for name in vectors:
        writer.add_tensor(name + ".weight", np.ones(hidden, np.float32))
    for name, rows, cols, how in matrices:
        writer.add_tensor_info(name + ".weight", [rows, cols // BLOCK[how] * BLOCK_BYTES[how]],
                               np.dtype(np.uint8), rows * cols // BLOCK[how] * BLOCK_BYTES[how], how)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name in vectors:
        writer.write_tensor_data(np.ones(hidden, np.float32))
    for _, rows, cols, how in matrices:
        writer.write_tensor_data(blocks(random, how, rows, cols))
    writer.close()
    print(f"{args.file}: {len(matrices)} matrices", file=sys.stderr)


if __name__ == "__main__":
    main()
