"""bench/compare: what its results say of themselves."""

import sys

from mesh import ROOT

sys.path.insert(0, str(ROOT / "bench" / "compare"))
import run_cpu  # noqa: E402  (its folder is not a package)


def test_a_result_names_every_option_that_mattered_and_no_path(monkeypatch):
    monkeypatch.delenv("WEFT_IK_BIN", raising=False)
    plain = run_cpu.parse(["--model", "/somewhere/m.gguf"])
    assert run_cpu.command_of(plain) == (
        "python3 bench/compare/run_cpu.py --model m.gguf --threads 1,2 --prefill 512 --decode 128"
        " --sequences 16 --rounds 3")
    given = run_cpu.parse([
        "--model", "/somewhere/m.gguf", "--ik", "/elsewhere/bin", "--bin", "/builds/bin",
        "--ik-build", "built for AVX2", "--peers", "ik_llama.cpp", "--kernels", "no", "--isa", "avx2",
        "--threads", "2", "--metrics", "batch", "--ik-repack", "0", "--batch-decode", "16",
        "--repetitions", "1", "--llama-plain-buffers", "--name", "m-avx2", "--context", "32768"])
    said = run_cpu.command_of(given)
    assert "/" not in said.replace("bench/compare/run_cpu.py", "")
    again = run_cpu.parse(run_cpu.shlex.split(said)[2:])
    paths = ("model", "ik", "bin", "llama_python")
    assert {k: v for k, v in vars(again).items() if k not in paths} == \
           {k: v for k, v in vars(given).items() if k not in paths}
