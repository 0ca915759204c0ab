"""weftctl quantize and inspect: model files without running them."""

import json
import signal
import subprocess

import pytest

from mesh import BIN, model_path


def test_inspect_says_what_a_model_is_and_needs(weftctl):
    seen = json.loads(weftctl("inspect", model_path(), "--json").stdout)
    assert seen["architecture"] == "llama" and seen["parameters"] == 134_515_008
    assert len(seen["tensors"]) == 272 and seen["types"]["Q4_1"]["tensors"] == 210
    assert seen["metadata"]["general.architecture"] == "llama"
    assert 4 < seen["bits_per_weight"] < 8
    full = seen["memory"][-1]
    assert full["context"] == seen["config"]["context_length"]
    assert full["kv_bytes"] == full["context"] * seen["kv_bytes_per_token"]
    text = weftctl("inspect", model_path()).stdout
    assert "134.5 million" in text and "Q4_1" in text and "tensors\n" not in text
    assert "blk.0.attn_q.weight" in weftctl("inspect", model_path(), "--all").stdout


def test_a_quantised_model_runs_and_is_what_it_says(weftctl, tmp_path):
    out = tmp_path / "q.gguf"
    done = weftctl("quantize", model_path(), out, "--type", "Q4_K", "--threads", 2)
    assert "tensors with rows of 576: Q5_0 instead of Q4_K" in done.stderr
    assert "Q4_1" in done.stderr  # quantised before
    seen = json.loads(weftctl("inspect", out, "--json").stdout)
    assert seen["types"]["Q5_0"]["tensors"] == 166 and seen["types"]["F32"]["tensors"] == 61
    assert seen["metadata"]["general.file_type"] == 15
    said = weftctl("run", out, "-p", "What is the capital of France?", "--temperature", 0,
                   "--max-tokens", 16).stdout
    assert said.strip()


def test_an_interrupted_quantisation_leaves_nothing(tmp_path):
    out = tmp_path / "q.gguf"
    process = subprocess.Popen(
        [BIN / "weftctl", "quantize", model_path(), out, "--type", "Q6_K", "--threads", "1"],
        stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.iterdir()):  # its temporary file
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted" in errors
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments, code, word", [
    (("inspect", "/nonexistent.gguf"), 1, "/nonexistent.gguf"),
    (("inspect", "/dev/null"), 2, "/dev/null"),
    (("quantize", "/nonexistent.gguf", "/tmp/x", "--type", "Q8_0"), 1, "/nonexistent.gguf"),
    (("quantize", model_path(), "/nonexistent/x", "--type", "Q8_0"), 1, "/nonexistent/x"),
    (("quantize", model_path(), "/tmp/x", "--type", "Q3_K"), 2, "Q3_K"),
])
def test_bad_arguments_are_clear_errors(weftctl, arguments, code, word):
    done = weftctl(*arguments, check=False)
    assert done.returncode == code and word in done.stderr
