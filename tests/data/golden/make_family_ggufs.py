#!/usr/bin/env python3
"""Makes tests/data/families/NAME/llama_cpp.{head,json}: what llama.cpp's converter makes of the checkpoint.

    pip install torch transformers
    python3 tests/data/golden/make_family_ggufs.py LLAMA_CPP tests/data/families [NAME …]

LLAMA_CPP is a checkout of llama.cpp (its convert_hf_to_gguf.py with conversion/ and gguf-py/). The
checkpoints have no tokenizer, so the converter's vocabulary is replaced by one of numbered tokens; tensors and
configuration are its own work.

The file itself would repeat the checkpoint, so only what is new is kept: its beginning (metadata and the list of
tensors) as it is, and in the JSON the SHA-256 of the whole, tensors that are computed from the configuration (in
hex), and the configuration's changes. Those are there for what the converter leaves out of the file (OVERRIDES):
the GGUF is compared with the folder under that configuration.
"""
import hashlib
import json
import pathlib
import shutil
import sys
import tempfile

CLASSES = {
    "llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "mixtral": "MixtralForCausalLM",
    "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM", "qwen3_moe": "Qwen3MoeForCausalLM",
    "starcoder2": "Starcoder2ForCausalLM", "gpt_bigcode": "GPTBigCodeForCausalLM",
    "gemma2": "Gemma2ForCausalLM", "gemma3_text": "Gemma3ForCausalLM", "phi3": "Phi3ForCausalLM",
    "granite": "GraniteForCausalLM", "deepseek_v2": "DeepseekV2ForCausalLM", "smollm3": "SmolLM3ForCausalLM",
}
# What the converter does not write: windows of families whose models have none, a scale of Gemma 2's queries
# that is not that of its heads, YaRN's first mscale, dynamic scaling.
OVERRIDES = {
    "llama3": {}, "llama_bias": {}, "mixtral": {}, "qwen2": {}, "qwen3": {}, "qwen3_moe": {}, "granite": {},
    "phi3_long": {}, "phi3_short": {}, "deepseek_v2_lite": {}, "gemma3_pattern": {}, "smollm3_pattern": {},
    "gpt_bigcode_wide": {},
    "mistral": {"sliding_window": None},
    "starcoder2": {"sliding_window": None},
    "gemma2": {"query_pre_attn_scalar": 32},
    "llama_dynamic": {"max_position_embeddings": 128,
                      "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
    "deepseek_v2": {"rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0,
                                        "original_max_position_embeddings": 32, "mscale": 0.5,
                                        "mscale_all_dim": 0.5}},
}
COMPUTED = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")


def older(config):
    """The spelling that the converter reads for every class."""
    rope = config.pop("rope_parameters", None)
    if rope and "full_attention" not in rope:
        config["rope_theta"] = rope.get("rope_theta", 10000.0)
        if rope.get("rope_type", "default") != "default":
            config["rope_scaling"] = rope
    elif rope:
        config["rope_parameters"] = rope
    scaling = config.get("rope_scaling")
    if scaling:
        kind = scaling.get("rope_type") or scaling.get("type")
        config["rope_scaling"] = {**scaling, "rope_type": kind, "type": kind}
    return config


def convert(conversion, gguf, folder):
    changes = OVERRIDES[folder.name]
    config = older({**json.loads((folder / "config.json").read_text()), **changes})
    config["architectures"] = [CLASSES[config["model_type"]]]
    with tempfile.TemporaryDirectory() as scratch:
        copy = pathlib.Path(scratch) / folder.name
        copy.mkdir()
        for file in folder.glob("*.safetensors*"):
            shutil.copy(file, copy)
        (copy / "config.json").write_text(json.dumps(config))
        count = config["vocab_size"]
        # Gemma's class counts the tokens itself.
        (copy / "tokenizer.json").write_text(json.dumps(
            {"model": {"vocab": {f"t{i}": i for i in range(count)}}, "added_tokens": []}))
        model_class = conversion.get_model_class(config["architectures"][0])

        def set_vocab(self):
            self.gguf_writer.add_vocab_size(count)
            self.gguf_writer.add_tokenizer_model("gpt2")
            self.gguf_writer.add_tokenizer_pre("default")
            self.gguf_writer.add_token_list([f"t{i}" for i in range(count)])
            self.gguf_writer.add_token_types([1] * count)
            self.gguf_writer.add_bos_token_id(config["bos_token_id"])
            self.gguf_writer.add_eos_token_id(config["eos_token_id"])

        model_class.set_vocab = set_vocab
        half = "float16" in (config.get("torch_dtype"), config.get("dtype"))
        single = "float32" in (config.get("torch_dtype"), config.get("dtype"))
        kind = (gguf.LlamaFileType.MOSTLY_F16 if half else gguf.LlamaFileType.ALL_F32 if single
                else gguf.LlamaFileType.MOSTLY_BF16)
        out = copy / "model.gguf"
        model_class(copy, kind, out, eager=True).write()
        data = out.read_bytes()
        reader = gguf.GGUFReader(out)
        inline = {t.name: t.data.tobytes().hex() for t in reader.tensors if t.name in COMPUTED}
        head = data[:reader.data_offset]
    (folder / "llama_cpp.head").write_bytes(head)
    (folder / "llama_cpp.json").write_text(json.dumps(
        {"sha256": hashlib.sha256(data).hexdigest(), "computed": inline, "config": changes}, indent=1) + "\n")
    print(f"{folder.name}: {len(head)} of {len(data)} bytes", flush=True)


def main():
    checkout, out = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
    sys.path[:0] = [str(checkout / "gguf-py"), str(checkout)]
    import conversion
    import gguf
    for name in sys.argv[3:] or OVERRIDES:
        convert(conversion, gguf, out / name)


if __name__ == "__main__":
    main()
