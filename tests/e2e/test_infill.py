"""Fill-in-the-middle through a real mesh: the default model, told which of its tokens mark the parts."""

import json
import struct

import httpx
import pytest

from mesh import Mesh, model_path
from node_client import run_suite

FIM_KEYS = {"fim_pre": 10, "fim_suf": 11, "fim_mid": 12}  # control tokens that it does not use


def with_token_ids(source, target, keys: dict[str, int]) -> None:
    """Copies a GGUF file and adds tokenizer.ggml.<name>_token_id to its metadata."""
    data = source.read_bytes()
    magic, version, tensors, entries = struct.unpack_from("<4sIQQ", data)
    assert magic == b"GGUF" and version == 3

    at = 24
    sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

    def skip(kind: int) -> None:
        nonlocal at
        if kind == 8:
            at += 8 + struct.unpack_from("<Q", data, at)[0]
        elif kind == 9:
            element, count = struct.unpack_from("<IQ", data, at)
            at += 12
            if element == 8:
                for _ in range(count):
                    skip(8)
            else:
                at += sizes[element] * count
        else:
            at += sizes[kind]

    for _ in range(entries):
        skip(8)
        kind = struct.unpack_from("<I", data, at)[0]
        at += 4
        skip(kind)
    metadata_end = at
    for _ in range(tensors):
        skip(8)
        at += 4 + 8 * struct.unpack_from("<I", data, at)[0] + 4 + 8
    more = b""
    for name, value in keys.items():
        key = f"tokenizer.ggml.{name}_token_id".encode()
        more += struct.pack("<Q", len(key)) + key + struct.pack("<II", 4, value)
    head = struct.pack("<4sIQQ", magic, version, tensors, entries + len(keys))
    head += data[24:metadata_end] + more + data[metadata_end:at]
    alignment = 32
    target.write_bytes(head + bytes(-len(head) % alignment) + data[at + -at % alignment:])


@pytest.fixture(scope="module")
def filling_mesh(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "filling.gguf"
    with_token_ids(model_path(), path, FIM_KEYS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WEFT_MODEL", str(path))
        mesh = Mesh(workers=1).start()
    yield mesh
    mesh.clean_up()


@pytest.fixture(scope="module")
def http(filling_mesh):
    with filling_mesh.client() as client:
        yield client


ASK = {"input_prefix": "def add(a, b):\n    ", "input_suffix": "\n    return c\n", "n_predict": 8,
       "temperature": 0, "top_k": 0, "min_p": 0, "top_p": 1, "cache_prompt": True, "samplers": []}


def test_infill_answers_whole_and_streamed_alike(http: httpx.Client):
    whole = http.post("/infill", json=ASK)
    assert whole.status_code == 200, whole.text
    body = whole.json()
    assert body["stop"] and body["tokens_predicted"] <= 8 and not body["truncated"]
    assert body["timings"]["prompt_n"] + body["timings"]["cache_n"] == body["tokens_evaluated"]
    streamed = http.post("/infill", json={**ASK, "stream": True})
    events = [json.loads(line[6:]) for line in streamed.text.splitlines() if line]
    assert "".join(event["content"] for event in events) == body["content"]
    assert [event["stop"] for event in events].count(True) == 1 and events[-1]["stop"]


def test_a_suffix_in_a_completion_makes_the_same_prompt(http: httpx.Client):
    fim = http.post("/infill", json=ASK).json()
    model = http.get("/v1/models").json()["data"][0]["id"]
    answer = http.post("/v1/completions", json={
        "model": model, "prompt": ASK["input_prefix"], "suffix": ASK["input_suffix"],
        "max_tokens": 8, "temperature": 0}).json()
    assert answer["choices"][0]["text"] == fim["content"]
    assert answer["usage"]["prompt_tokens"] == fim["tokens_evaluated"]


def test_what_does_not_fit_the_context_is_left_out(http: httpx.Client):
    files = [{"filename": f"f{i}.py", "text": f"x{i} = {i}\n" * 3000} for i in range(3)]
    body = http.post("/infill", json={**ASK, "input_extra": files, "n_predict": 0}).json()
    assert body["truncated"] and body["tokens_predicted"] == 0 and body["stop_type"] == "limit"
    assert body["tokens_evaluated"] < 100  # no file fits, the edited one does


def test_the_node_client_completes_fills_in_echoes_and_chooses(filling_mesh, http: httpx.Client):
    model = http.get("/v1/models").json()["data"][0]["id"]
    run_suite("completions.test.mjs", filling_mesh, model)
