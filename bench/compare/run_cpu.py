#!/usr/bin/env python3
"""Weft against ik_llama.cpp and llama.cpp on the CPU: same file and threads, alternately.

    ./weft bench compare/cpu
    python3 bench/compare/run_cpu.py --model MODEL.gguf [--ik DIR] [--threads 1,2] [--rounds 3]
        [--isa avx2] [--name smollm2] [--metrics prefill] [--context 32768] [--kernels also]
        [--ik-build "built for AVX2"] [--peers ik_llama.cpp]

Peers: ik_llama.cpp where --ik (or WEFT_IK_BIN) names the folder of its llama-bench and
llama-batched-bench; llama.cpp where --llama-python (or WEFT_LLAMA_PYTHON) is a Python that can import
llama_cpp (default: this one). A peer that is not there, or not in --peers, is left out, and that is
said. --ik-build says in the results how ik_llama.cpp was built, where it is not for this machine.

A round runs every side in a fresh process with a warm-up, in an order that turns each round, and
measures prefill of one prompt, decoding of one sequence and of several together; beside them the
memory bandwidth that bench/kernels/read_bandwidth finds. --metrics takes only some of the three;
--context lets Weft run beyond the model's own context. Prints tokens per second and the ratio Weft /
peer, median and range over the rounds; writes bench/results/cpu_NAME.json, then bench/compare/cpu.md
from all such files. On a shared machine only ratios of one run mean something.

First come single kernels (bench/results/kernels.json): those that lost beside the ones in use, and
instruction counts. --kernels no leaves them out, only does nothing else.
"""
import argparse
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile

import kernel_numbers
import run_llama_cpp as llama_cpp
from cpu_report import write_report

REPOSITORY = llama_cpp.REPOSITORY
METRICS = ("prefill", "decode", "batch")
RESULTS = os.path.join(REPOSITORY, "bench", "results")
REPORT = os.path.join(REPOSITORY, "bench", "compare", "cpu.md")
# Options in a result's command; --model by its file's name, --ik as DIR, other paths not at all.
ALWAYS_NAMED = ("threads", "prefill", "decode", "sequences", "rounds")
NAMED_UNLESS_DEFAULT = ("isa", "metrics", "context", "batch_decode", "repetitions", "peers", "ik_repack",
                        "ik_build", "llama_plain_buffers", "name", "kernels", "mib")


class Weft:
    """bench/kernels/model_bench: the forward steps, with sampling left out on every side."""

    name = "weft"

    def __init__(self, args):
        self.args = args

    def version(self):
        commit = llama_cpp.commit()
        return f"{commit}, WEFT_ISA={self.args.isa}" if self.args.isa else commit

    def run(self, model, threads):
        args = self.args
        env = dict(os.environ, **({"WEFT_ISA": args.isa} if args.isa else {}))
        decode = args.decode if "decode" in args.metrics else 1
        batch = args.sequences if "batch" in args.metrics else 1
        out = subprocess.run(
            [os.path.join(args.bin, "model_bench"), model, f"threads={threads}",
             f"prefill={args.prefill if 'prefill' in args.metrics else 1}", f"decode={decode}",
             f"batch={batch}", f"repetitions={args.repetitions}", f"context={args.context}"],
            stdout=subprocess.PIPE, check=True, text=True, env=env).stdout
        found = json.loads(out)
        return {"prefill": found["prefill_tok_s"], "decode": found["decode_tok_s"],
                "batch": found["batch"][0]["tok_s"], "weights_bytes": found["weights_bytes"],
                "peak_rss_bytes": found["peak_rss_bytes"], "isa": found["isa"],
                "load_s": found["load_s"],
                "fork_joins": {"prefill": found["prefill_fork_joins"],
                               "decode": found["decode_fork_joins"],
                               "batch": found["batch"][0]["fork_joins"]}}


class IkLlama:
    """ik_llama.cpp's own programs, flash attention on; --rtr repacks at load, as its manual advises."""

    name = "ik_llama.cpp"

    def __init__(self, args):
        self.args = args
        self.bin = args.ik
        self.commit = "unknown"

    def version(self):
        return f"{self.commit}, {self.args.ik_build}" if self.args.ik_build else self.commit

    def run(self, model, threads):
        args = self.args
        repack = "1" if args.ik_repack else "0"
        wanted = [m for m in ("prefill", "decode") if m in args.metrics]
        sizes = {"prefill": args.prefill, "decode": args.decode}
        found = {}
        if wanted:
            found = self.bench(model, threads, repack, *[
                str(sizes[m]) if m in wanted else "0" for m in ("prefill", "decode")])
        if "batch" in args.metrics:
            found["batch"] = self.together(model, threads)
        return found

    def bench(self, model, threads, repack, prefill, decode):
        args = self.args
        out = subprocess.run(
            [os.path.join(self.bin, "llama-bench"), "-m", model, "-t", str(threads), "-p",
             prefill, "-n", decode, "-r", str(args.repetitions), "-fa", "1",
             "-rtr", repack, "-o", "json"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True,
            cwd=tempfile.gettempdir()).stdout
        found = {}
        for row in json.loads(out[out.index("["):]):
            key = "prefill" if row["n_prompt"] > 0 else "decode"
            found[key] = max(row["samples_ts"])
            self.commit = row["build_commit"]
        return found

    def together(self, model, threads):
        args = self.args
        n = args.sequences
        context = n * (llama_cpp.DECODE_PROMPT + args.batch_decode) + 64
        command = [os.path.join(self.bin, "llama-batched-bench"), "-m", model, "-t", str(threads),
                   "-tb", str(threads), "-c", str(context), "-b", "512", "-ub", "512", "-fa",
                   "on", "-npp", str(llama_cpp.DECODE_PROMPT), "-ntg", str(args.batch_decode), "-npl",
                   str(n)] + (["-rtr"] if args.ik_repack else [])
        out = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True,
                             cwd=tempfile.gettempdir(),
                             text=True).stdout
        rows = re.findall(r"^\|\s*\d+ \|.*", out, re.MULTILINE)
        return float(rows[-1].split("|")[8])


class LlamaCpp:
    """llama.cpp through llama-cpp-python's C interface (run_llama_cpp.py)."""

    name = "llama.cpp"

    def __init__(self, args):
        self.args = args
        self.python = args.llama_python

    def version(self):
        version = "llama-cpp-python " + subprocess.run(
            [self.python, "-c", "import llama_cpp; print(llama_cpp.__version__)"],
            stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        return version + ", use_extra_bufts off" if self.args.llama_plain_buffers else version

    def run(self, model, threads):
        args = self.args
        found = llama_cpp.command_output(
            [self.python, llama_cpp.__file__, "--llama", "--model", model, "--threads", str(threads),
             "--prefill", str(args.prefill), "--decode", str(args.decode), "--sequences",
             str(args.sequences), "--batch-decode", str(args.batch_decode)]
            + (["--plain-buffers"] if args.llama_plain_buffers else []))
        return {"prefill": found["prefill_tok_s"], "decode": found["decode_tok_s"],
                "batch": found["batch_tok_s"]}


def bandwidth(args, threads):
    out = subprocess.run(
        [os.path.join(args.bin, "read_bandwidth"), f"threads={threads}", f"mib={args.mib}",
         "seconds=1"], stdout=subprocess.PIPE, check=True, text=True).stdout
    return json.loads(out)["best_gb_s"]


def sides(args):
    found = [Weft(args)]
    wanted = args.peers.split(",")
    if IkLlama.name not in wanted:
        print("ik_llama.cpp left out: not in --peers", flush=True)
    elif args.ik and os.path.exists(os.path.join(args.ik, "llama-bench")):
        found.append(IkLlama(args))
    else:
        print("ik_llama.cpp left out: --ik names no folder with its llama-bench", flush=True)
    probe = [args.llama_python, "-c", "import llama_cpp"]
    if LlamaCpp.name not in wanted:
        print("llama.cpp left out: not in --peers", flush=True)
    elif args.llama_python and subprocess.run(probe, capture_output=True, check=False).returncode == 0:
        found.append(LlamaCpp(args))
    else:
        print("llama.cpp left out: --llama-python is no Python with llama_cpp", flush=True)
    return found


def spread(values, digits):
    return {"median": round(statistics.median(values), digits),
            "range": [round(min(values), digits), round(max(values), digits)]}


def measure(args, model, threads, players):
    """All rounds of one model and thread count: {"sides": ..., "ratios": ..., "rounds": ...}."""
    rounds = []
    for i in range(args.rounds):
        turn = i % len(players)
        row = {"read_gb_s": bandwidth(args, threads)}
        for player in players[turn:] + players[:turn]:
            row[player.name] = player.run(model, threads)
        rounds.append(row)
        print(f"  round {i + 1}, {threads} threads: " + "; ".join(
            f"{p.name} " + " ".join(f"{m} {row[p.name][m]:.1f}" for m in args.metrics)
            for p in players) + f"; read {row['read_gb_s']} GB/s", flush=True)
    result = {"threads": threads, "read_gb_s": spread([r["read_gb_s"] for r in rounds], 2),
              "weights_bytes": rounds[0]["weft"]["weights_bytes"],
              "peak_rss_bytes": max(r["weft"]["peak_rss_bytes"] for r in rounds),
              "isa": rounds[0]["weft"]["isa"],
              "tok_s": {p.name: {m: spread([r[p.name][m] for r in rounds], 1) for m in args.metrics}
                        for p in players},
              "ratio": {p.name: {m: spread([r["weft"][m] / r[p.name][m] for r in rounds], 3)
                                 for m in args.metrics} for p in players[1:]},
              "fork_joins": {m: rounds[0]["weft"]["fork_joins"][m] for m in args.metrics}}
    if "decode" in args.metrics:
        result["decode_of_bandwidth"] = spread(
            [r["weft"]["decode"] * r["weft"]["weights_bytes"] / (r["read_gb_s"] * 1e9)
             for r in rounds], 3)
    for name, ratios in result["ratio"].items():
        print(f"  weft / {name}, {threads} threads: " + ", ".join(
            f"{m} {ratios[m]['median']} ({ratios[m]['range'][0]} to {ratios[m]['range'][1]})"
            for m in args.metrics), flush=True)
    return result


def write_results(name, result):
    with open(os.path.join(RESULTS, name), "w", encoding="utf-8") as f:
        json.dump(result, f, indent=1)
        f.write("\n")


def measure_kernels(args):
    print("kernels", flush=True)
    counts = kernel_numbers.instructions(args.bin)
    write_results("kernels.json", {
        "command": "python3 bench/compare/run_cpu.py --kernels only", "commit": llama_cpp.commit(),
        "machine": {"cpu": llama_cpp.cpu_name(), "cpus": os.cpu_count()},
        "variants": kernel_numbers.variants(args.bin, 1), "instructions": counts})


def command_of(args):
    """The command line that measures the same, without paths of this machine."""
    words = ["python3", "bench/compare/run_cpu.py"]
    if args.model is not None:
        words += ["--model", os.path.basename(args.model)]
    if args.ik and IkLlama.name in args.peers.split(","):
        words += ["--ik", "DIR"]
    for name in ALWAYS_NAMED + NAMED_UNLESS_DEFAULT:
        value = getattr(args, name)
        value = ",".join(value) if isinstance(value, list) else value
        if name in NAMED_UNLESS_DEFAULT and value == args.defaults[name]:
            continue
        words.append("--" + name.replace("_", "-"))
        if value is not True:
            words.append(str(value))
    return shlex.join(words)


def measure_model(args):
    args.model = os.path.abspath(args.model)
    players = sides(args)
    name = args.name or os.path.basename(args.model).removesuffix(".gguf")
    print(f"{name}: {os.path.getsize(args.model) / 1e6:.0f} MB", flush=True)
    result = {
        "command": command_of(args),
        "commit": llama_cpp.commit(),
        "model": os.path.basename(args.model),
        "file_bytes": os.path.getsize(args.model),
        "sequences": args.sequences, "prefill": args.prefill, "decode": args.decode,
        "ik_options": f"-fa 1 -rtr {args.ik_repack}",
        "machine": {"cpu": llama_cpp.cpu_name(), "cpus": os.cpu_count()},
        "runs": [measure(args, args.model, int(t), players) for t in args.threads.split(",")],
    }
    result["versions"] = {player.name: player.version() for player in players}
    result["machine"]["load_average_at_end"] = [round(v, 2) for v in os.getloadavg()]
    write_results(f"cpu_{name}.json", result)


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default_model = os.environ.get("WEFT_MODEL")
    parser.add_argument("--model", default=default_model)
    parser.add_argument("--name", help="of the result (default: of the model's file)")
    parser.add_argument("--bin", default=os.environ.get("WEFT_BIN_DIR", "build/bench/bin"))
    parser.add_argument("--ik", default=os.environ.get("WEFT_IK_BIN"))
    parser.add_argument("--ik-repack", type=int, default=1)
    parser.add_argument("--ik-build", default="")
    parser.add_argument("--peers", default=f"{IkLlama.name},{LlamaCpp.name}")
    parser.add_argument("--llama-python",
                        default=os.environ.get("WEFT_LLAMA_PYTHON", sys.executable))
    parser.add_argument("--llama-plain-buffers", action="store_true",
                        help="llama.cpp without AMX and repacking")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--isa", help="WEFT_ISA of the Weft side")
    parser.add_argument("--prefill", type=int, default=512)
    parser.add_argument("--decode", type=int, default=128)
    parser.add_argument("--sequences", type=int, default=16)
    parser.add_argument("--batch-decode", type=int, default=32)
    parser.add_argument("--repetitions", type=int, default=2, help="inside a process; the best counts")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mib", type=int, default=512, help="of the bandwidth measurement")
    parser.add_argument("--metrics", default=",".join(METRICS))
    parser.add_argument("--context", type=int, default=0, help="of Weft, beyond the model's own")
    parser.add_argument("--kernels", choices=("no", "also", "only"), default="also")
    args = parser.parse_args(arguments)
    args.defaults = {name: parser.get_default(name) for name in NAMED_UNLESS_DEFAULT}
    args.metrics = [m for m in METRICS if m in args.metrics.split(",")]
    if args.model is None and args.kernels != "only":
        parser.error("--model is missing")
    return args


def main():
    args = parse()
    if args.kernels != "no":
        measure_kernels(args)
    if args.kernels != "only":
        measure_model(args)
    write_report(RESULTS, REPORT)


if __name__ == "__main__":
    main()
