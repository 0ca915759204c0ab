"""The engine without the mesh."""

import json

import pytest

from mesh import model_path


def test_run_streams_the_same_text_for_a_seed(weftctl):
    def run(*extra):
        return weftctl("run", model_path(), "-p", "Say hello.", "--max-tokens", 12, *extra).stdout

    greedy = run("--temperature", 0)
    assert greedy.strip() and run("--temperature", 0) == greedy
    assert run("--temperature", 1, "--seed", 5) == run("--temperature", 1, "--seed", 5)


def test_run_gives_what_the_mesh_gives(weftctl, client, model):
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Name a colour."}], max_tokens=12,
        temperature=0)
    alone = weftctl("run", model_path(), "-p", "Name a colour.", "--max-tokens", 12,
                    "--temperature", 0).stdout
    assert alone.rstrip("\n") == answer.choices[0].message.content.rstrip("\n")


def test_tokenize_prints_ids_on_one_line(weftctl):
    out = weftctl("tokenize", model_path(), "--no-special", input="hello world\n").stdout
    assert out.count("\n") == 1
    assert len([int(word) for word in out.split()]) == 3


def test_render_takes_a_template_and_messages(weftctl, tmp_path):
    (tmp_path / "t.jinja").write_text(
        "{% for m in messages %}[{{ m.role }}] {{ m['content'] }}\n{% endfor %}")
    (tmp_path / "m.json").write_text(json.dumps([{"role": "user", "content": "hé"}]))
    out = weftctl("render", "--template", tmp_path / "t.jinja", "--messages",
                  tmp_path / "m.json").stdout
    assert out == "[user] hé\n"
    out = weftctl("render", "--model", model_path(), "--messages", tmp_path / "m.json").stdout
    assert out.endswith("<|im_start|>user\nhé<|im_end|>\n<|im_start|>assistant\n")


def test_bench_prints_the_promised_keys(weftctl):
    result = json.loads(weftctl(
        "bench", model_path(), "--prefill", 32, "--decode", 4, "--batch", "1,2", "--threads", 2,
        "--json").stdout)
    assert result["prefill_tok_s"] > 0 and result["decode_tok_s"] > 0
    assert [entry["n"] for entry in result["batch"]] == [1, 2]
    assert all(entry["tok_s"] > 0 for entry in result["batch"])
    assert result["peak_rss_bytes"] > 50_000_000


@pytest.mark.parametrize("arguments, word", [
    (("run", "/nonexistent.gguf", "-p", "x"), "/nonexistent.gguf"),
    (("tokenize", "/dev/null"), "/dev/null"),
    (("render", "--template", "/nonexistent", "--messages", "/nonexistent"), "/nonexistent"),
])
def test_bad_files_are_clear_errors(weftctl, arguments, word):
    done = weftctl(*arguments, check=False, input="x")
    assert done.returncode in (1, 2) and word in done.stderr
    assert len(done.stderr.splitlines()) <= 3
