"""What the engine holds at most, against the size of the file and the KV cache."""

import json
import os

import pytest

from mesh import model_path

pytestmark = pytest.mark.timeout(1600)  # 8,000 tokens on a busy machine

# SmolLM2-135M: layers x KV heads x elements of a head x (K and V) x bytes of a half.
KV_BYTES_PER_TOKEN = 30 * 3 * 64 * 2 * 2


def peak(weftctl, prefill):
    result = json.loads(weftctl(
        "bench", model_path(), "--prefill", prefill, "--decode", 2, "--batch", "1", "--threads", 2,
        "--json", timeout=1500).stdout)
    return result["peak_rss_bytes"]


def test_a_long_context_takes_the_file_the_kv_cache_and_a_tenth(weftctl):
    needed = os.path.getsize(model_path()) + 8002 * KV_BYTES_PER_TOKEN
    assert peak(weftctl, 8000) <= 1.1 * needed


def test_loading_takes_less_than_the_file_and_its_largest_tensor(weftctl):
    # The embedding, a third of the file, is repacked part by part. The program and its libraries
    # take some 20 MB whatever the model.
    assert peak(weftctl, 64) <= os.path.getsize(model_path()) + 28_000_000
