#!/usr/bin/env python3
"""Makes tests/data/families/NAME/model.gguf: the same tiny checkpoint through llama.cpp's converter.

    pip install torch transformers gguf
    python3 tests/data/golden/make_family_ggufs.py CONVERTER tests/data/families [NAME …]

CONVERTER is convert_hf_to_gguf.py of llama.cpp or ik_llama.cpp. The checkpoints have no tokenizer, so the
converter's vocabulary is replaced by one of numbered tokens; tensors and configuration are its own work.
"""
import importlib.util
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
DEFAULT = ["llama3", "llama_bias", "qwen3"]


def older(config):
    """The spelling that converters read."""
    rope = config.pop("rope_parameters", None)
    if rope:
        config["rope_theta"] = rope.get("rope_theta", 10000.0)
        if rope.get("rope_type", "default") != "default":
            config["rope_scaling"] = rope
    scaling = config.get("rope_scaling")
    if scaling:
        kind = scaling.get("rope_type") or scaling.get("type")
        config["rope_scaling"] = {**scaling, "rope_type": kind, "type": kind}
        if kind == "llama3":  # looked for beside it
            config["original_max_position_embeddings"] = scaling["original_max_position_embeddings"]
    # Keys that one of the converters wants of every model of a class and most models do not have.
    config.setdefault("num_experts_per_tok", None)
    config.setdefault("prefix_dense_intermediate_size", config.get("intermediate_size"))
    config.setdefault("scoring_func", "softmax")
    return config


def convert(converter, folder):
    config = older(json.loads((folder / "config.json").read_text()))
    config["architectures"] = [CLASSES[config["model_type"]]]
    with tempfile.TemporaryDirectory() as scratch:
        copy = pathlib.Path(scratch) / folder.name
        copy.mkdir()
        for file in folder.glob("*.safetensors*"):
            shutil.copy(file, copy)
        (copy / "config.json").write_text(json.dumps(config))
        model_class = converter.Model.from_model_architecture(config["architectures"][0])

        def set_vocab(self):
            writer, count = self.gguf_writer, config["vocab_size"]
            writer.add_vocab_size(count)
            writer.add_tokenizer_model("gpt2")
            writer.add_tokenizer_pre("default")
            writer.add_token_list([f"t{i}" for i in range(count)])
            writer.add_token_types([1] * count)
            writer.add_bos_token_id(config["bos_token_id"])
            writer.add_eos_token_id(config["eos_token_id"])

        model_class.set_vocab = set_vocab
        half = "float16" in (config.get("torch_dtype"), config.get("dtype"))
        kind = converter.gguf.LlamaFileType.MOSTLY_F16 if half else converter.gguf.LlamaFileType.MOSTLY_BF16
        out = folder / "model.gguf"
        model_class(copy, kind, out, eager=True).write()
        print(f"{folder.name}: {out.stat().st_size} bytes", flush=True)


def main():
    path, out = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location("convert_hf_to_gguf", path)
    converter = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = converter
    spec.loader.exec_module(converter)
    for name in sys.argv[3:] or DEFAULT:
        convert(converter, out / name)


if __name__ == "__main__":
    main()
