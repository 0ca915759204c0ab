#!/usr/bin/env python3
"""Weft against llama.cpp: the same file, threads and machine, alternately in one run.

    ./weft bench compare/llama_cpp
    python3 bench/compare/run_llama_cpp.py --model MODEL.gguf [--weftctl build/bench/bin/weftctl]
        [--threads 2] [--prefill 512] [--decode 128] [--rounds 5] [--out bench/results/llama_cpp.json]

llama-cpp-python is taken from the running Python if it has it, else built (minutes, once) into
${WEFT_HOME:-.weft}/bench-venv.

Each round runs both, in an order that changes, each in a fresh process with a warm-up. Prints
tokens per second and the ratio Weft / llama.cpp per round with median and range; writes them with the
command, the commit and the machine. On a busy machine only the ratios mean something.

The Weft side is `weftctl bench`; with --model-bench FILE it is bench/kernels/model_bench instead.
"""
import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time

DECODE_PROMPT = 16  # kDecodePrompt in libs/engine/bench.cc
LLAMA_PACKAGE = "llama-cpp-python==0.3.36"
REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def run_llama(args):
    """Measures llama.cpp through its C interface in this process; prints one JSON line."""
    import ctypes

    import llama_cpp as lib

    quiet = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
    lib.llama_log_set(quiet, None)
    lib.llama_backend_init()
    model_params = lib.llama_model_default_params()
    model_params.n_gpu_layers = 0
    # AMX and repacked weights.
    model_params.use_extra_bufts = not args.plain_buffers
    model = lib.llama_model_load_from_file(args.model.encode(), model_params)
    params = lib.llama_context_default_params()
    params.n_ctx = max(args.prefill + args.decode,
                       args.sequences * (DECODE_PROMPT + args.batch_decode)) + 64
    params.n_batch = params.n_ubatch = max(args.prefill, args.sequences * DECODE_PROMPT)
    params.n_seq_max = args.sequences
    params.kv_unified = True
    params.n_threads = params.n_threads_batch = args.threads
    context = lib.llama_init_from_model(model, params)
    vocab = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
    memory = lib.llama_get_memory(context)

    def step(position, rows):
        tokens = (lib.llama_token * rows)(*[((position + i) * 7919 + 13) % vocab for i in range(rows)])
        batch = lib.llama_batch_get_one(tokens, rows)
        begin = time.perf_counter()
        if lib.llama_decode(context, batch) != 0:
            sys.exit("llama_decode failed")
        lib.llama_synchronize(context)
        return time.perf_counter() - begin

    def together(position, rows):
        """Every sequence gets `rows` more tokens; logits of the last ones."""
        batch = lib.llama_batch_init(rows * args.sequences, 0, 1)
        for sequence in range(args.sequences):
            for i in range(rows):
                at = batch.n_tokens
                batch.token[at] = ((position + i) * 7919 + 13) % vocab
                batch.pos[at] = position + i
                batch.n_seq_id[at] = 1
                batch.seq_id[at][0] = sequence
                batch.logits[at] = i + 1 == rows
                batch.n_tokens += 1
        begin = time.perf_counter()
        if lib.llama_decode(context, batch) != 0:
            sys.exit("llama_decode failed")
        lib.llama_synchronize(context)
        taken = time.perf_counter() - begin
        lib.llama_batch_free(batch)
        return taken

    step(0, 32)
    for i in range(8):
        step(32 + i, 1)
    lib.llama_memory_clear(memory, True)
    prefill = step(0, args.prefill)
    # Decoding starts from a short context, as it does in weftctl bench.
    lib.llama_memory_clear(memory, True)
    step(0, DECODE_PROMPT)
    decode = sum(step(DECODE_PROMPT + i, 1) for i in range(args.decode))
    lib.llama_memory_clear(memory, True)
    together(0, DECODE_PROMPT)
    batch = sum(together(DECODE_PROMPT + i, 1) for i in range(args.batch_decode))
    print(json.dumps({"prefill_tok_s": args.prefill / prefill, "decode_tok_s": args.decode / decode,
                      "batch_tok_s": args.sequences * args.batch_decode / batch}))


def python_with_llama():
    """A Python that can import llama_cpp; makes a virtual environment if this one cannot."""
    if importlib.util.find_spec("llama_cpp") is not None:
        return sys.executable
    home = os.environ.get("WEFT_HOME") or os.path.join(REPOSITORY, ".weft")
    python = os.path.join(home, "bench-venv", "bin", "python")
    probe = [python, "-c", "import llama_cpp"]
    if not os.path.exists(python) or subprocess.run(probe, capture_output=True, check=False).returncode:
        print(f"building {LLAMA_PACKAGE} (several minutes, once)", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", os.path.join(home, "bench-venv")], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", LLAMA_PACKAGE], check=True)
    return python


def command_output(command):
    result = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(result.stdout)


def weft_command(args):
    if args.model_bench:
        return [args.model_bench, args.model, f"prefill={args.prefill}", f"decode={args.decode}",
                f"threads={args.threads}", "batch=1"]
    return [args.weftctl, "bench", args.model, "--prefill", str(args.prefill), "--decode",
            str(args.decode), "--threads", str(args.threads), "--batch", "1", "--json"]


def cpu_name():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        for line in f:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def commit():
    return subprocess.run(["git", "-C", REPOSITORY, "rev-parse", "HEAD"], stdout=subprocess.PIPE,
                          text=True, check=False).stdout.strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=os.environ.get("WEFT_MODEL"),
                        required="WEFT_MODEL" not in os.environ)
    parser.add_argument("--weftctl", default=os.path.join(
        os.environ.get("WEFT_BIN_DIR", "build/bench/bin"), "weftctl"))
    parser.add_argument("--model-bench")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prefill", type=int, default=512)
    parser.add_argument("--decode", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", default=os.path.join(REPOSITORY, "bench/results/llama_cpp.json"))
    parser.add_argument("--sequences", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--batch-decode", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--plain-buffers", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--llama", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.llama:
        run_llama(args)
        return

    python = python_with_llama()
    version = subprocess.run(
        [python, "-c", "import llama_cpp; print(llama_cpp.__version__)"],
        stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    llama = [python, os.path.abspath(__file__), "--llama", "--model", args.model, "--threads",
             str(args.threads), "--prefill", str(args.prefill), "--decode", str(args.decode)]
    sides = {"weft": weft_command(args), "llama_cpp": llama}
    rounds = []
    for i in range(args.rounds):
        order = list(sides) if i % 2 == 0 else list(reversed(sides))
        found = {side: command_output(sides[side]) for side in order}
        row = {}
        for key in ("prefill_tok_s", "decode_tok_s"):
            row[key] = {side: round(found[side][key], 1) for side in sides}
            row[key]["ratio"] = round(found["weft"][key] / found["llama_cpp"][key], 3)
        rounds.append(row)
        print(f"round {i + 1}: " + "; ".join(
            f"{key[:-6]} {row[key]['weft']} / {row[key]['llama_cpp']} = {row[key]['ratio']}"
            for key in row), flush=True)

    summary = {}
    for key in ("prefill_tok_s", "decode_tok_s"):
        ratios = [row[key]["ratio"] for row in rounds]
        summary[key] = {
            "weft_median": statistics.median(row[key]["weft"] for row in rounds),
            "llama_cpp_median": statistics.median(row[key]["llama_cpp"] for row in rounds),
            "ratio_median": statistics.median(ratios),
            "ratio_range": [min(ratios), max(ratios)],
        }
        print(f"{key}: ratio {summary[key]['ratio_median']} "
              f"({summary[key]['ratio_range'][0]} to {summary[key]['ratio_range'][1]})")
    result = {
        "command": "python3 bench/compare/run_llama_cpp.py --model "
                   f"{os.path.basename(args.model)} --threads {args.threads} --prefill {args.prefill} "
                   f"--decode {args.decode} --rounds {args.rounds}",
        "commit": commit(),
        "machine": {"cpu": cpu_name(), "cpus": os.cpu_count(),
                    "load_average_at_end": [round(v, 2) for v in os.getloadavg()]},
        "llama_cpp_python": version,
        "summary": summary,
        "rounds": rounds,
    }
    os.makedirs(os.path.dirname(os.path.abspath(args.out)), exist_ok=True)
    with open(args.out, "w", encoding="utf-8") as f:
        json.dump(result, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main()
