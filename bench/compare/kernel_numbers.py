"""What bench/kernels' programs say of single kernels: variants beside the ones in use, instruction counts."""
import json
import os
import re
import shutil
import subprocess
import tempfile

# kernel_bench's filter and the function whose instructions count, with the multiply-adds of one call.
COUNTED = [
    ("Q4_1, 1 row", "matmul Q4_1 256x1536 rows 1", "Avx2Matmul", 256 * 1536),
    ("Q4_1, 64 rows", "matmul Q4_1 256x1536 rows 64", "Avx2Matmul", 64 * 256 * 1536),
    ("Q4_K, 64 rows", "matmul Q4_K 256x1536 rows 64", "Avx2Matmul", 64 * 256 * 1536),
    ("Q5_K, 64 rows", "matmul Q5_K 256x1536 rows 64", "Avx2Matmul", 64 * 256 * 1536),
    ("Q6_K, 64 rows", "matmul Q6_K 256x1536 rows 64", "Avx2Matmul", 64 * 256 * 1536),
    ("Q8_0, 64 rows", "matmul Q8_0 256x1536 rows 64", "Avx2Matmul", 64 * 256 * 1536),
    ("attention, 1 row of 3 heads over 512 tokens", "rows 1 context 512",
     "AttentionOver<*HalfKv*>::Run", 2 * 3 * 64 * 512),
    ("attention, 32 rows of 3 heads over 512 tokens", "rows 32 context 512",
     "AttentionOver<*HalfKv*>::Run", 2 * 32 * 3 * 64 * 512),
]


def variants(folder, seconds):
    """The list that kernel_variants prints."""
    out = subprocess.run([os.path.join(folder, "kernel_variants"), f"seconds={seconds}"],
                         stdout=subprocess.PIPE, check=True, text=True).stdout
    return json.loads(out)


def instructions(folder):
    """[{name, instructions, mac_per_instruction}] by valgrind (which knows AVX2 at most), or None."""
    if shutil.which("valgrind") is None:
        print("instruction counts left out: no valgrind", flush=True)
        return None
    found = []
    for name, kernel, function, work in COUNTED:
        with tempfile.TemporaryDirectory() as scratch:
            out = os.path.join(scratch, "out")
            subprocess.run(
                ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}",
                 f"--toggle-collect=*{function}*", os.path.join(folder, "kernel_bench"), kernel],
                env=dict(os.environ, WEFT_BENCH_ONCE="1", WEFT_ISA="avx2"), check=True,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            with open(out, encoding="utf-8") as f:
                count = int(re.search(r"^(?:summary|totals): (\d+)", f.read(), re.MULTILINE)[1])
        found.append({"name": name, "instructions": count,
                      "mac_per_instruction": round(work / count, 2)})
        print(f"  {name}: {count:,} instructions, {work / count:.2f} multiply-adds each", flush=True)
    return found
