"""weftctl quantize and inspect: model files without running them."""

import json
import os
import pty
import re
import signal
import struct
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
    assert not any(c in done.stderr for c in "\r\x1b")  # not a terminal: no bar
    seen = json.loads(weftctl("inspect", out, "--json").stdout)
    assert seen["types"]["Q5_0"]["tensors"] == 166 and seen["types"]["F32"]["tensors"] == 61
    assert seen["metadata"]["general.file_type"] == 15
    said = weftctl("run", out, "-p", "What is the capital of France?", "--temperature", 0,
                   "--max-tokens", 16).stdout
    assert said.strip()


def test_inspect_reads_every_value(weftctl, tmp_path):
    done = weftctl("inspect", model_path(), "--check")
    assert "272 tensors read" in done.stdout and "all finite" in done.stdout
    assert not any(c in done.stderr for c in "\r\x1b")  # not a terminal: no bar
    damaged = tmp_path / "damaged.gguf"
    data = bytearray(model_path().read_bytes())
    data[-4:] = b"\x00\x00\x80\x7f"  # the last tensor is one of floats; here infinite
    damaged.write_bytes(data)
    done = weftctl("inspect", damaged, "--check", "--threads", 2, "--json", check=False)
    assert done.returncode == 1 and done.stderr == ""
    seen = json.loads(done.stdout)
    last = seen["tensors"][-1]
    assert last["type"] == "F32"
    assert seen["check"]["not_finite"] == [
        {"tensor": last["name"], "values": 1, "first": last["dims"][0] - 1}]


def on_a_terminal(*arguments):
    """What a command writes to stderr when that is a terminal."""
    terminal, its_end = pty.openpty()
    process = subprocess.Popen([BIN / "weftctl", *map(str, arguments)], stdout=subprocess.DEVNULL,
                               stderr=its_end)
    os.close(its_end)
    shown = b""
    try:
        while part := os.read(terminal, 4096):
            shown += part
    except OSError:  # Linux's end of a terminal that nobody writes to any more
        pass
    os.close(terminal)
    assert process.wait(timeout=60) == 0
    return shown.decode()


@pytest.mark.parametrize("command, after", [
    (("quantize", model_path(), "{out}", "--type", "Q8_0"), "quantised already"),
    (("inspect", model_path(), "--check"), None),
])
def test_long_work_draws_a_bar_on_a_terminal_and_wipes_it(tmp_path, command, after):
    shown = on_a_terminal(*(str(part).format(out=tmp_path / "q.gguf") for part in command))
    bars = re.findall(r"\r\x1b\[K\[(=* *)\] +(\d+) %  (\S+)", shown)
    assert bars and all(len(bar) == 30 for bar, _, _ in bars)
    percents = [int(percent) for _, percent, _ in bars]
    assert percents == sorted(percents) and percents[-1] <= 100
    assert all(name.endswith(".weight") for _, _, name in bars)
    wiped = shown.rindex("\r\x1b[K")
    assert "%" not in shown[wiped:]
    assert after is None or shown.index(after) > wiped


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


def with_huge_tensor(source, out, rows):
    """Copies a GGUF file and adds an F32 tensor of `rows` rows of 4096 as a hole in the file.

    The new entry of the tensor list takes 64 bytes, so that the padding before the data stays.
    """
    data = source.read_bytes()
    seen = json.loads(subprocess.run([BIN / "weftctl", "inspect", source, "--json"],
                                     capture_output=True, check=True).stdout)
    assert all(tensor["bytes"] % 32 == 0 for tensor in seen["tensors"])
    first = seen["tensors"][0]["name"].encode()
    at = data.index(struct.pack("<Q", len(first)) + first)
    name = b"blk.0.a_huge_tensor.more"
    entry = struct.pack("<Q", len(name)) + name
    entry += struct.pack("<IQQIQ", 2, 4096, rows, 0, seen["tensor_bytes"])
    assert len(entry) == 64
    (count,) = struct.unpack_from("<Q", data, 8)
    with open(out, "wb") as file:
        file.write(data[:8] + struct.pack("<Q", count + 1) + data[16:at] + entry + data[at:])
        file.truncate(len(data) + len(entry) + 4 * 4096 * rows)


def test_a_model_that_does_not_fit_the_memory_is_refused_with_the_bytes(weftctl, tmp_path):
    huge = tmp_path / "huge.gguf"
    with_huge_tensor(model_path(), huge, 2**27)
    try:
        need = json.loads(weftctl("inspect", huge, "--json").stdout)["memory"][-1]
        assert need["weights_bytes"] > 2**41
        done = weftctl("run", huge, "-p", "x", check=False)
        assert done.returncode == 1 and done.stdout == ""
        assert "not enough memory" in done.stderr and str(huge) in done.stderr
        assert f"{need['weights_bytes']} for weights" in done.stderr
    finally:
        huge.unlink()


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
