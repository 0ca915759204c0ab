"""A Hugging Face folder in place of a GGUF file: weftctl, and a whole mesh."""

import json
import shutil

import openai
import pytest

from mesh import ROOT

# Qwen 2's way to split text; tokens are the printable ASCII characters, so it fits a vocabulary of 192.
SPLIT = ("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
         "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The tiny Llama of the oracle's tests, in shards, with a tokenizer."""
    out = tmp_path_factory.mktemp("models") / "Tiny-Llama-0.1"
    shutil.copytree(ROOT / "tests/data/families/llama3", out,
                    ignore=shutil.ignore_patterns("golden.json", "*.gguf"))
    characters = [chr(c) for c in range(0x21, 0x7f)] + ["\u0120", "\u010a"]  # space and line feed
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    names = ["<s>", "</s>"] + [f"<pad{i}>" for i in range(192 - len(characters) - 2)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    (out / "tokenizer.json").write_text(json.dumps({
        "version": "1.0",
        "added_tokens": [{"id": len(characters) + i, "content": name, **special}
                         for i, name in enumerate(names)],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "behavior": "Isolated", "invert": False, "pattern": {"Regex": SPLIT}}, byte_level]},
        "post_processor": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
                  "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False,
                  "vocab": {text: i for i, text in enumerate(characters)}, "merges": []}}))
    (out / "tokenizer_config.json").write_text(json.dumps(
        {"eos_token": "</s>", "chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}"}))
    return out


def test_weftctl_runs_tokenizes_and_measures_a_folder(weftctl, folder):
    def run():
        return weftctl("run", folder, "--raw", "-p", "def f(x):", "--max-tokens", 12,
                       "--temperature", 0).stdout

    text = run()
    assert text.strip() and run() == text
    ids = weftctl("tokenize", folder, "--no-special", input="a b").stdout.split()
    assert [int(i) for i in ids] == [ord("a") - 0x21, 94, ord("b") - 0x21]
    result = json.loads(weftctl("bench", folder, "--prefill", 16, "--decode", 4, "--batch", "1",
                                "--threads", 1, "--json").stdout)
    assert result["prefill_tok_s"] > 0


def test_a_folder_becomes_a_gguf_file_with_its_tokenizer_and_template(weftctl, folder, tmp_path):
    for kind, type_name in (("F16", "F16"), ("Q8_0", "Q8_0"), ("Q4_K", "Q5_0")):  # rows of 64: no K format
        out = tmp_path / f"{kind}.gguf"
        done = weftctl("quantize", folder, out, "--type", kind)
        assert ("tensors with rows of 64: Q5_0 instead of Q4_K" in done.stderr) == (kind == "Q4_K")
        seen = json.loads(weftctl("inspect", out, "--json").stdout)
        assert seen["architecture"] == "llama" and seen["types"][type_name]["tensors"] > 10
        meta = seen["metadata"]
        assert meta["general.name"] == "Tiny-Llama-0.1" and meta["tokenizer.ggml.pre"] in ("qwen2", "stablelm2")
        assert meta["tokenizer.chat_template"].startswith("{% for m in messages %}")
        ids = weftctl("tokenize", out, "--no-special", input="a b").stdout
        assert ids == weftctl("tokenize", folder, "--no-special", input="a b").stdout
        said = weftctl("run", out, "--raw", "-p", "def f(x):", "--max-tokens", 12, "--temperature", 0).stdout
        assert said.strip()
    bare = tmp_path / "bare"
    shutil.copytree(ROOT / "tests/data/families/qwen3", bare)
    done = weftctl("quantize", bare, tmp_path / "bare.gguf", "--type", "Q4_0")
    assert "neither tokenizer.json nor tokenizer.model" in done.stderr
    (bare / "config.json").write_text((bare / "config.json").read_text().replace('"silu"', '"gelu"'))
    done = weftctl("quantize", bare, tmp_path / "gelu.gguf", "--type", "Q4_0", check=False)
    assert done.returncode == 1 and "activation" in done.stderr and not (tmp_path / "gelu.gguf").exists()


def test_a_mesh_serves_a_folder_under_its_name(fresh_mesh, weftctl, folder):
    mesh = fresh_mesh(workers=1, extra={"worker": {"model": f"{folder}/"}})
    client = openai.OpenAI(base_url=f"{mesh.url}/v1", api_key=mesh.admin_key, max_retries=0)
    assert [m.id for m in client.models.list()] == ["Tiny-Llama-0.1"]
    answer = client.completions.create(model="Tiny-Llama-0.1", prompt="def f(x):", max_tokens=12,
                                       temperature=0)
    alone = weftctl("run", folder, "--raw", "-p", "def f(x):", "--max-tokens", 12, "--temperature", 0)
    assert answer.choices[0].text.rstrip("\n") == alone.stdout.rstrip("\n")


def test_a_folder_without_weights_or_tokenizer_is_a_clear_error(weftctl, folder, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(folder, bare)
    (bare / "model.safetensors.index.json").unlink()
    done = weftctl("run", bare, "-p", "x", check=False)
    assert done.returncode == 1 and "model.safetensors" in done.stderr
    (bare / "tokenizer.json").unlink()
    done = weftctl("run", bare, "-p", "x", check=False)
    assert done.returncode == 1 and "tokenizer" in done.stderr
