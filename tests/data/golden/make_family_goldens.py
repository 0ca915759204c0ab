#!/usr/bin/env python3
"""Makes tests/data/families: for every family a tiny random checkpoint and what `transformers` computes.

    pip install torch transformers safetensors
    python3 tests/data/golden/make_family_goldens.py tests/data/families [NAME …]

Each folder is a checkpoint as `save_pretrained` writes it (weights rounded to 16 bits, or FP8) and
golden.json: for a few prompts the greedy continuation with the gap between the two largest logits at
each step, and whole rows of logits. The numbers are those of the checkpoint as it lies in the folder,
read back and computed in fp32. Configurations turn on what the family has: windows shorter than the
prompts, scaled positions, caps, experts, latent attention. LEGACY ones have their config.json rewritten
as older releases of transformers wrote it (rope_theta and rope_scaling), which most public models still
have.
"""
import copy
import hashlib
import json
import math
import pathlib
import shutil
import sys

import safetensors.torch
import torch
import transformers

CONTINUATION = 32
# Of the largest logit's size: a greedy step that is closer would make the comparison a coin toss.
LEAST_GAP = 0.001
LEAST_DISTINCT = 20  # tokens in all continuations together
VOCAB = 192
BASE = dict(vocab_size=VOCAB, hidden_size=64, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
            bos_token_id=1, eos_token_id=2, pad_token_id=None, tie_word_embeddings=False)
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0,
        "original_max_position_embeddings": 32}


def base(**changes):
    return {**BASE, **changes}


def factors(count, first, step):
    return [round(first + step * i, 4) for i in range(count)]


# name: (model type, configuration, how it is made)
CASES = {
    "llama3": ("llama", base(rms_norm_eps=1e-5, rope_parameters={
        "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 32}),
        {"legacy": True, "dtype": "float16", "shard": "60KB"}),
    "llama_bias": ("llama", base(attention_bias=True, mlp_bias=True, tie_word_embeddings=True, rope_parameters={
        "rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}), {"legacy": True}),
    "llama_dynamic": ("llama", base(num_hidden_layers=1, max_position_embeddings=24, rope_parameters={
        "rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}), {"one_by_one": True, "dtype": "float32"}),
    "mistral": ("mistral", base(head_dim=32, sliding_window=16), {"legacy": True}),
    "mixtral": ("mixtral", base(intermediate_size=32, num_local_experts=4, num_experts_per_tok=2), {}),
    "qwen2": ("qwen2", base(tie_word_embeddings=True, rope_parameters=YARN), {"legacy": True}),
    "qwen3": ("qwen3", base(head_dim=32), {}),
    "qwen3_moe": ("qwen3_moe", base(head_dim=16, num_experts=6, num_experts_per_tok=3,
                                    moe_intermediate_size=32, norm_topk_prob=True, decoder_sparse_step=1,
                                    mlp_only_layers=[]), {"legacy": True}),
    "starcoder2": ("starcoder2", base(sliding_window=16, tie_word_embeddings=True), {}),
    "gpt_bigcode": ("gpt_bigcode", dict(vocab_size=VOCAB, n_embd=64, n_layer=2, n_head=4, n_positions=128,
                                        n_inner=96, bos_token_id=1, eos_token_id=2), {}),
    "gemma2": ("gemma2", base(head_dim=32, sliding_window=16, query_pre_attn_scalar=24,
                              attn_logit_softcapping=4.0, final_logit_softcapping=6.0, pad_token_id=0,
                              tie_word_embeddings=True), {"legacy": True}),
    "gemma3_text": ("gemma3_text", base(num_hidden_layers=3, head_dim=32, sliding_window=12, pad_token_id=0,
                                        query_pre_attn_scalar=24, tie_word_embeddings=True,
                                        layer_types=["sliding_attention", "sliding_attention", "full_attention"],
                                        rope_parameters={
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0}}), {"legacy": True}),
    "phi3_long": ("phi3", base(hidden_size=96, num_attention_heads=3, num_key_value_heads=1, pad_token_id=0,
                               num_hidden_layers=2, intermediate_size=32, sliding_window=24,
                               original_max_position_embeddings=16, rope_parameters={
        "rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.5,
        "short_factor": factors(8, 1.0, 0.05), "long_factor": factors(8, 1.1, 0.9),
        "original_max_position_embeddings": 16}), {"legacy": True, "least_prompt": 17}),
    "phi3_short": ("phi3", base(num_hidden_layers=1, pad_token_id=0, original_max_position_embeddings=128,
                                rope_parameters={
        "rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 1.0,
        "short_factor": factors(8, 1.0, 0.25), "long_factor": factors(8, 2.0, 1.0),
        "original_max_position_embeddings": 128}), {}),
    "granite": ("granite", base(embedding_multiplier=6.0, logits_scaling=0.4, residual_multiplier=0.4,
                                attention_multiplier=0.125), {}),
    "deepseek_v2_lite": ("deepseek_v2", base(
        head_dim=16, num_key_value_heads=4, q_lora_rank=None, kv_lora_rank=32, qk_nope_head_dim=32,
        qk_rope_head_dim=16, v_head_dim=16, n_routed_experts=6, n_shared_experts=2, num_experts_per_tok=3,
        moe_intermediate_size=32, first_k_dense_replace=1, routed_scaling_factor=1.0, topk_method="greedy",
        rope_parameters={**YARN, "mscale": 0.707, "mscale_all_dim": 0.707}), {"legacy": True}),
    "deepseek_v2": ("deepseek_v2", base(
        head_dim=16, num_key_value_heads=4, q_lora_rank=32, kv_lora_rank=32, qk_nope_head_dim=16,
        qk_rope_head_dim=16, v_head_dim=16, n_routed_experts=8, n_shared_experts=1, num_experts_per_tok=3,
        moe_intermediate_size=32, first_k_dense_replace=0, routed_scaling_factor=4.0, num_hidden_layers=1,
        topk_method="group_limited_greedy", n_group=4, topk_group=2,
        rope_parameters={**YARN, "mscale": 1.0, "mscale_all_dim": 0.5}), {}),
    "smollm3": ("smollm3", base(num_hidden_layers=3, no_rope_layers=[1, 0, 1], no_rope_layer_interval=2,
                                pad_token_id=0, tie_word_embeddings=True), {}),
    # As the converters of llama.cpp know them: layers by the family's own pattern, a wide network of
    # four times the embedding. Narrow, because there are more layers.
    "gemma3_pattern": ("gemma3_text", base(num_hidden_layers=7, hidden_size=32, intermediate_size=32, head_dim=16,
                                           num_attention_heads=2, num_key_value_heads=1, sliding_window=12,
                                           pad_token_id=0, query_pre_attn_scalar=16, tie_word_embeddings=True), {}),
    "smollm3_pattern": ("smollm3", base(num_hidden_layers=5, hidden_size=32, intermediate_size=32,
                                        num_attention_heads=2, num_key_value_heads=1, pad_token_id=0,
                                        tie_word_embeddings=True), {}),
    "gpt_bigcode_wide": ("gpt_bigcode", dict(vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=2, n_positions=128,
                                             bos_token_id=1, eos_token_id=2), {}),
    "fp8_block": ("qwen3", base(head_dim=32, intermediate_size=160, hidden_size=96, num_hidden_layers=1),
                  {"fp8": "block"}),
    "fp8_tensor": ("llama", base(), {"fp8": "tensor"}),
}


def randomise(model, seed):
    """Weights of a size at which every part of the network matters."""
    generator = torch.Generator().manual_seed(seed)
    gemma = "gemma" in model.config.model_type
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("bias"):
                parameter.copy_(0.2 * noise)
            elif parameter.ndim == 1:
                parameter.copy_((0.0 if gemma else 1.0) + 0.25 * noise)
            elif any(part in name for part in ("embed", "wte", "wpe", "lm_head")):
                # A tied embedding that is large beside the layers' output makes the model repeat itself.
                parameter.copy_((0.06 if model.config.tie_word_embeddings else 0.35) * noise)
            else:
                sharp = 2.0 if any(p in name for p in ("q_proj", "k_proj", "qkv", "c_attn", "gate.weight")) else 1.0
                parameter.copy_(sharp / math.sqrt(parameter.shape[-1]) * noise)


def legacy_config(config):
    """config.json as releases before 5 wrote it."""
    rope = config.pop("rope_parameters")
    if "full_attention" in rope:  # Gemma 3
        config["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        layer_types = config.pop("layer_types")
        config.pop("_sliding_window_pattern", None)
        config["sliding_window_pattern"] = layer_types.index("full_attention") + 1
        rope = rope["full_attention"]
    config["rope_theta"] = rope.pop("rope_theta")
    if "partial_rotary_factor" in rope:
        config["partial_rotary_factor"] = rope.pop("partial_rotary_factor")
    kind = rope.pop("rope_type")
    if kind == "longrope":
        rope.pop("original_max_position_embeddings", None)  # beside it, as Phi 3 has it
    config["rope_scaling"] = None if kind == "default" else {
        "type" if config["model_type"] in ("phi3", "llama") else "rope_type": kind, **rope}
    if "dtype" in config:
        config["torch_dtype"] = config.pop("dtype")
    if config["model_type"] == "qwen3_moe" and "num_local_experts" in config:
        config["num_experts"] = config.pop("num_local_experts")
    return config


def to_fp8(folder, kind):
    """Quantises the projections in place; returns the weights that they stand for, in fp32."""
    path = folder / "model.safetensors"
    tensors = {k: v.float() for k, v in safetensors.torch.load_file(path).items()}
    out, meant = {}, {}
    largest = torch.finfo(torch.float8_e4m3fn).max
    for name, weight in tensors.items():
        if not name.endswith("_proj.weight"):
            out[name], meant[name] = weight.bfloat16(), weight
            continue
        if kind == "tensor":
            scale = (weight.abs().max() / largest).reshape(1)
            full = scale
            out[name + "_scale"] = scale
        else:
            rows, cols = weight.shape
            scale = torch.zeros(math.ceil(rows / 128), math.ceil(cols / 128))
            for r in range(scale.shape[0]):
                for c in range(scale.shape[1]):
                    block = weight[r * 128:(r + 1) * 128, c * 128:(c + 1) * 128]
                    scale[r, c] = block.abs().max() / largest
            full = scale.repeat_interleave(128, 0)[:rows].repeat_interleave(128, 1)[:, :cols]
            out[name + "_scale_inv"] = scale
        out[name] = (weight / full).to(torch.float8_e4m3fn)
        meant[name] = out[name].float() * full
    safetensors.torch.save_file(out, path, metadata={"format": "pt"})
    return meant


def prompts(name, least):
    generator = torch.Generator().manual_seed(int(hashlib.sha256(name.encode()).hexdigest()[:8], 16))
    lengths = [max(length, least) for length in (5, 21, 45)]
    return [torch.randint(3, VOCAB, (length,), generator=generator).tolist() for length in sorted(set(lengths))]


def numbers(values):
    return [float(f"{v:.6g}") for v in values]


def run(model, prompt, one_by_one):
    """Greedy text, its gaps, and the logits of every position."""
    tokens, cache, rows, gaps = list(prompt), None, [], []
    pending = [[t] for t in prompt] if one_by_one else [list(prompt)]
    for step in range(CONTINUATION):
        for chunk in pending:
            result = model(torch.tensor([chunk]), past_key_values=cache, use_cache=True)
            cache = result.past_key_values
            rows.extend(result.logits[0].float())
        best = torch.topk(rows[-1], 2)
        gaps.append((best.values[0] - best.values[1]).item())
        tokens.append(int(best.indices[0]))
        pending = [[tokens[-1]]]
    return tokens[len(prompt):], gaps, rows


def make(name, out):
    kind, settings, how = CASES[name]
    folder = out / name
    seed = 1
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        config = transformers.AutoConfig.for_model(kind, **settings)
        config._attn_implementation = "eager"
        model = transformers.AutoModelForCausalLM.from_config(config)
        randomise(model, seed)
        stored = copy.deepcopy(model).to(getattr(torch, how.get("dtype", "bfloat16")))
        stored.save_pretrained(folder, max_shard_size=how.get("shard", "10GB"))
        document = json.loads((folder / "config.json").read_text())
        for key in ("transformers_version", "_name_or_path", "architectures"):
            document.pop(key, None)
        if how.get("legacy"):
            document = legacy_config(document)
        (folder / "config.json").write_text(json.dumps(document, indent=1) + "\n")
        meant = to_fp8(folder, how["fp8"]) if "fp8" in how else None
        if meant is None:
            model = transformers.AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, attn_implementation="eager")
        else:
            missing, unexpected = model.load_state_dict(meant, strict=False)
            assert not unexpected and all("lm_head" in m for m in missing), (missing, unexpected)
            block = {"weight_block_size": [128, 128]} if how["fp8"] == "block" else {}
            document["quantization_config"] = {"quant_method": "fp8", "activation_scheme": "dynamic", **block}
            (folder / "config.json").write_text(json.dumps(document, indent=1) + "\n")
        model.eval()
        cases, smallest = [], math.inf
        with torch.no_grad():
            for prompt in prompts(name, how.get("least_prompt", 0)):
                continuation, gaps, rows = run(model, prompt, how.get("one_by_one", False))
                size = max(row.abs().max().item() for row in rows)
                smallest = min(smallest, min(gaps) / size)
                wanted = [len(prompt) // 2, len(prompt) - 1, len(rows) - 1]
                cases.append({"prompt": prompt, "continuation": continuation,
                              "logits": [{"position": p, "row": numbers(rows[p].tolist())} for p in wanted]})
        distinct = len({t for c in cases for t in c["continuation"]})
        if smallest >= LEAST_GAP and distinct >= LEAST_DISTINCT:
            break
        seed += 1
    golden = {"made_with": {"transformers": transformers.__version__, "torch": torch.__version__},
              "seed": seed, "smallest_gap": float(f"{smallest:.3g}"), "cases": cases}
    text = json.dumps(golden, separators=(",", ":")).replace('{"position"', '\n{"position"').replace('{"prompt"', '\n{"prompt"')
    (folder / "golden.json").write_text(text + "\n")
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"{name}: seed {seed}, smallest gap {smallest:.4f}, {distinct} distinct tokens, {size} bytes", flush=True)


def main():
    out = pathlib.Path(sys.argv[1])
    torch.set_num_threads(1)
    for name in sys.argv[2:] or CASES:
        make(name, out)


if __name__ == "__main__":
    main()
