#!/usr/bin/env python3
"""Compiles every .cu of libs with nvcc and compares what ptxas says with the committed table.

    deploy/ci/check_kernels.py [--nvcc PATH] [--write]

Fails when a kernel spills registers or uses local memory, when a kernel's registers or static shared
memory are not those of the table (bench/results/gpu/kernels_sm90a.md), or when a kernel is missing in
either. --write makes the table anew. Without --nvcc, deploy/tools/cuda_toolkit.sh finds or assembles a
toolkit. Occupancy is computed from the limits of compute capability 9.0 (CUDA C++ Programming Guide,
"Compute Capabilities") and the largest dynamic shared memory that the kernel's launcher asks for.
"""

import argparse
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLE = ROOT / "bench/results/gpu/kernels_sm90a.md"
ARCHITECTURE = "90a"

# Compute capability 9.0, per multiprocessor.
REGISTERS = 65536
REGISTERS_PER_WARP_STEP = 256
MAX_THREADS = 2048
MAX_WARPS = 64
MAX_BLOCKS = 32
SHARED_BYTES = 228 * 1024
SHARED_RESERVED_PER_BLOCK = 1024


def nvcc_path(argument):
    if argument:
        return argument
    root = subprocess.run([ROOT / "deploy/tools/cuda_toolkit.sh"], check=True, text=True,
                          stdout=subprocess.PIPE, cwd=ROOT).stdout.strip()
    return f"{root}/bin/nvcc"


def compile_source(nvcc, source, folder):
    """ptxas's report and the PTX of one file."""
    command = [nvcc, "-std=c++20", "-O3", "--expt-relaxed-constexpr", "-Werror", "all-warnings",
               "-gencode", f"arch=compute_{ARCHITECTURE},code=sm_{ARCHITECTURE}", "-Xptxas", "-v",
               "--keep", "--keep-dir", folder, f"-I{ROOT}", "-c", "-o", f"{folder}/out.o", str(source)]
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        sys.exit(f"{source}: nvcc failed\n{done.stdout}")
    ptx = pathlib.Path(folder, source.stem + ".ptx").read_text()
    return done.stdout, ptx


def dynamic_shared(source):
    """{kernel: bytes} of lines `// occupancy: KERNEL, shared BYTES` in the source."""
    lines = re.findall(r"^// occupancy: (.+), shared (\d+)$", source.read_text(), re.M)
    return {name: int(value) for name, value in lines}


def demangle(names):
    out = subprocess.run(["c++filt"], input="\n".join(names), text=True, check=True,
                         stdout=subprocess.PIPE).stdout.splitlines()
    short = []
    for name in out:
        name = re.sub(r"^void ", "", name).replace("weft::gpu::", "")
        name = re.sub(r"\(.*\)$", "", re.sub(r"\((?:int|bool|KvType|Numerics)\)", "", name))
        short.append(name)
    return short


def occupancy(registers, shared, threads):
    warps = (threads + 31) // 32
    per_warp = -(-registers * 32 // REGISTERS_PER_WARP_STEP) * REGISTERS_PER_WARP_STEP
    limits = [MAX_BLOCKS, MAX_WARPS // warps, MAX_THREADS // threads,
              REGISTERS // (per_warp * warps), SHARED_BYTES // (shared + SHARED_RESERVED_PER_BLOCK)]
    blocks = min(limits)
    return blocks, 100 * blocks * warps // MAX_WARPS


def measure(nvcc):
    rows, bad = [], []
    for source in sorted(ROOT.glob("libs/**/*.cu")):
        with tempfile.TemporaryDirectory() as folder:
            report, ptx = compile_source(nvcc, source, folder)
        threads = {}
        for entry, body in re.findall(r"\.entry (\w+)\((.*?)\n\{", ptx, re.S):
            bound = re.search(r"\.maxntid (\d+)(?:, (\d+))?(?:, (\d+))?", body)
            threads[entry] = 1
            for part in bound.groups() if bound else []:
                threads[entry] *= int(part or 1)
        dynamic = dynamic_shared(source)
        parts = re.split(r"Compiling entry function '(\w+)' for", report)[1:]
        names = demangle(parts[0::2])
        for entry, name, text in zip(parts[0::2], names, parts[1::2]):
            stack = int(re.search(r"(\d+) bytes stack frame", text).group(1))
            spills = sum(int(n) for n in re.findall(r"(\d+) bytes spill", text))
            registers = int(re.search(r"Used (\d+) registers", text).group(1))
            found = re.search(r"(\d+) bytes smem", text)
            static = int(found.group(1)) if found else 0
            if stack or spills:
                bad.append(f"{source.name}: {name}: {stack} bytes of local memory, {spills} spilled")
            shared = dynamic.get(name, 0)
            blocks, percent = occupancy(registers, static + shared, threads[entry])
            rows.append((source.name, name, threads[entry], registers, static, shared, blocks, percent))
    return rows, bad


def render(rows):
    lines = ["# Kernels on sm_90a", "",
             "Made by `deploy/ci/check_kernels.py --write` from `-Xptxas -v` of the pinned toolkit; CI compares.",
             "Shared memory: static, and the most that the launcher asks for at run time. Occupancy is the",
             "theoretical one of compute capability 9.0: blocks per multiprocessor, share of its 64 warps.", "",
             "| file | kernel | threads | registers | static shared | dynamic shared | blocks | warps |",
             "|---|---|---|---|---|---|---|---|"]
    for row in sorted(rows):
        cells = [row[0], f"`{row[1]}`", *map(str, row[2:7]), f"{row[7]} %"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--nvcc")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    rows, bad = measure(nvcc_path(options.nvcc))
    text = render(rows)
    for line in bad:
        print(line)
    if options.write:
        TABLE.parent.mkdir(parents=True, exist_ok=True)
        TABLE.write_text(text)
    elif not TABLE.exists() or TABLE.read_text() != text:
        before = set(TABLE.read_text().splitlines()) if TABLE.exists() else set()
        now = set(text.splitlines())
        for line in sorted(before - now):
            print(f"table:    {line}")
        for line in sorted(now - before):
            print(f"compiled: {line}")
        print(f"{TABLE.relative_to(ROOT)} differs: run deploy/ci/check_kernels.py --write and look at why")
        bad.append("table")
    print(f"{len(rows)} kernels for sm_{ARCHITECTURE}")
    sys.exit(1 if bad else 0)


main()
