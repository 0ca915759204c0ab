#!/usr/bin/env bash
# Runs a GPU bundle (./weft gpu-bundle): seven stages, each under its own time limit, each with its
# raw output in a file of its own. A stage that fails or runs out of time does not keep the others
# from running; the last lines say how each went.
#
#   deploy/gpu/run.sh [--out DIR] [--bin DIR] [--stages 1,3,4] [--limit SECONDS] [--emulated]
#
# From the root of the sources, with the bundle in build/gpu-bundle (--bin: the folder of its
# executables). --limit shortens every stage's own limit. --emulated runs the emulator's twins of the
# executables, on small shapes: it tries this script out and says nothing about a GPU.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 2
out=${OUT:-build/gpu-out} bin=build/gpu-bundle/bin stages=1,2,3,4,5,6,7 limit=100000 emulated=0
while (($#)); do
  case $1 in
    --out) out=${2:?}; shift ;;
    --bin) bin=${2:?}; shift ;;
    --stages) stages=${2:?}; shift ;;
    --limit) limit=${2:?}; shift ;;
    --emulated) emulated=1 ;;
    *) echo "run.sh: unknown option $1" >&2; exit 2 ;;
  esac
  shift
done
mkdir -p "$out"
summary=$out/summary.txt
: >"$summary"
note() { printf '%s\n' "$*" | tee -a "$summary"; }

# The file of a library: the loader's, the toolkit's, or that of a Python package.
library() {  # NAME
  local found
  found=$(ldconfig -p 2>/dev/null | awk -v name="$1" '$1 == name { print $NF; exit }')
  [[ -n $found || ! -e ${CUDA_HOME:-/usr/local/cuda}/lib64/$1 ]] || found=${CUDA_HOME:-/usr/local/cuda}/lib64/$1
  [[ -n $found ]] || found=$(python3 - "$1" 2>/dev/null <<'PYTHON'
import glob, site, sys, sysconfig
folders = {sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"], *site.getsitepackages()}
found = [f for folder in sorted(folders) for f in sorted(glob.glob(f"{folder}/nvidia/**/{sys.argv[1]}", recursive=True))]
print(found[0] if found else "")
PYTHON
)
  printf '%s' "$found"
}

note "commit: $(git rev-parse HEAD 2>/dev/null || cat build/gpu-bundle/COMMIT 2>/dev/null || echo unknown)"
note "glibc: $(ldd --version 2>/dev/null | head -n 1)"
note "kernel: $(uname -srm)"
if command -v nvidia-smi >/dev/null; then
  note "gpu: $(nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.mem --format=csv,noheader 2>&1 | head -n 8 | tr '\n' ';')"
else
  note "gpu: no nvidia-smi"
fi
for name in libcublas.so.13 libcublasLt.so.13 libcublas.so.12 libcublasLt.so.12 libnccl.so.2; do
  note "$name: $(library $name || true)"
done
# Products of many rows ask it where they are not to be exact.
cublas_lt=$(library libcublasLt.so.13 || true)
[[ -z $cublas_lt ]] || export WEFT_CUBLASLT_LIBRARY=${WEFT_CUBLASLT_LIBRARY:-$cublas_lt}

# What travelled in one archive.
if [[ ! -d $bin && -r $(dirname "$bin")/bundle.tar.gz ]]; then
  tar -C "$(dirname "$bin")" -xzf "$(dirname "$bin")/bundle.tar.gz" || note "the bundle cannot be unpacked"
fi

# The executables need a glibc at least as new as the one they were built with: otherwise they are
# built here, with whatever toolkit there is.
program() { printf '%s/%s' "$bin" "$1"; }
if ((emulated)); then
  tests=(test_ops_gpu) models=(test_gpu_model test_gpu_engine)
  kernel_bench=(gpu_kernel_bench_emulated --small) engine_bench=(gpu_engine_bench_emulated)
else
  tests=(primitives test_ops_on_gpu) models=(test_models_on_gpu)
  kernel_bench=(gpu_kernel_bench) engine_bench=(gpu_engine_bench)
fi
if ! "$(program "${engine_bench[0]}")" --help >/dev/null 2>"$out/build.txt"; then
  note "the bundle's executables do not run here: $(head -n 1 "$out/build.txt")"
  if ((!emulated)) && command -v cmake >/dev/null; then
    note "building here"
    timeout "$limit" ./weft build --cuda >>"$out/build.txt" 2>&1
    note "build: exit $?"
    bin=build/cuda/bin
  fi
fi

# Runs each line of its standard input as a command, until the stage's time is over.
stage() {  # NUMBER NAME SECONDS
  local number=$1 name=$2 seconds=$3 file begin status=0 line left
  ((seconds > limit)) && seconds=$limit
  file=$out/$number-$name.txt
  [[ ,$stages, == *,$number,* ]] || { cat >/dev/null; return; }
  : >"$file"
  begin=$SECONDS
  while IFS= read -r line; do
    left=$((seconds - (SECONDS - begin)))
    if ((left <= 0)); then
      printf '\n$ %s\nnot run: the stage is out of time\n' "$line" >>"$file"
      status=124
      continue
    fi
    printf '\n$ %s\n' "$line" >>"$file"
    timeout --kill-after=10 "$left" bash -c "$line" >>"$file" 2>&1 </dev/null
    local one=$?
    printf '[exit %s after %s s]\n' "$one" "$((SECONDS - begin))" >>"$file"
    ((one == 0)) || status=$one
  done
  note "stage $number $name: exit $status, $((SECONDS - begin)) s, $file"
}

for test in "${tests[@]}"; do
  [[ $test == primitives && ! -x $(program primitives) ]] && continue
  if [[ $test == test_ops_gpu ]]; then
    echo "$(program "$test") '[feed],[norm]'"
  else
    program "$test"; echo
  fi
done | stage 1 kernels 300

for test in "${models[@]}"; do
  if ((emulated)); then echo "$(program "$test") '[engine],*refused by name'"; else program "$test"; echo; fi
done | stage 2 models 300

{
  echo "$(program "${kernel_bench[0]}") ${kernel_bench[*]:1}"
  ((emulated)) || echo "python3 bench/gpu/torch_ops.py"
} | stage 3 kernel-bench 420

bench() { echo "$(program "${engine_bench[0]}") $*"; }
if ((emulated)); then
  bench --shape tiny --type bf16 --batch 2 --context 20 --tokens 4
  bench --shape tiny --type fp8 --batch 2 --context 8 --tokens 4
  bench --shape tiny --type q8_0 --batch 2 --context 8 --tokens 4 --sequences 3
else
  for type in bf16 fp8 q8_0 q4_k; do
    for context in 16 8192; do bench --shape llama3-8b --type $type --context $context; done
  done
  for batch in 8 16 32 64 128 256; do
    bench --shape llama3-8b --type bf16 --batch $batch --context 128 --tokens 64
  done
  for type in bf16 fp8; do
    bench --shape llama3-8b --type $type --batch 256 --context 128 --tokens 128 --sequences 1024
    bench --shape llama3-8b --type $type --batch 256 --context 1000 --tokens 1000 --sequences 512
  done
  for shape in qwen2.5-coder-7b qwen2.5-coder-32b; do
    for type in bf16 q4_k; do bench --shape $shape --type $type; done
  done
  bench --shape llama3-70b --type q4_k
fi | stage 4 engine-bench 540

# Two ranks on one GPU, which NCCL >= 2.30 allows when it is told to; what lacks room there shows as a
# hang, which the stage's limit ends. Where there are several GPUs each rank has its own.
if ((emulated)); then
  echo "$(program test_comm) '[nccl]'"
else
  nccl=$(library libnccl.so.2)
  echo "WEFT_NCCL_LIBRARY='${nccl:-libnccl.so.2}' NCCL_MULTI_RANK_GPU_ENABLE=1 NCCL_NVLS_ENABLE=0 NCCL_MAX_CTAS=4 NCCL_DEBUG=WARN $(program test_nccl_on_gpu)"
fi | stage 5 nccl 120

sanitizer=$(PATH=$PATH:${CUDA_HOME:-/usr/local/cuda}/bin command -v compute-sanitizer)
if [[ -z $sanitizer ]] || ((emulated)); then
  echo "echo 'compute-sanitizer: ${sanitizer:-not found}'"
else
  for tool in memcheck racecheck; do
    echo "$sanitizer --tool $tool --error-exitcode 9 $(program test_ops_on_gpu) '[feed],[sample],[attention]'"
  done
fi | stage 6 sanitizer 300

profiler=$(command -v nsys || true)
if [[ -z $profiler ]] || ((emulated)); then
  echo "echo 'nsys: ${profiler:-not found}'"
else
  echo "$profiler profile --force-overwrite true --stats true -o /tmp/weft-step $(bench --shape llama3-8b --type bf16 --tokens 32)"
fi | stage 7 profile 120

note "raw output: $out"
! grep -q '^stage .*: exit [^0]' "$summary"
