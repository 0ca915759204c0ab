#!/usr/bin/env bash
# pack.sh BUILD DIR: what ./weft gpu-bundle carries to a machine with a GPU, in one archive that run.sh
# unpacks there: the executables of BUILD/bin, stripped, and the shared libraries that they need but
# glibc's, which the machine has, and the driver's, which are loaded when they are there.
set -euo pipefail

build=$1 to=$2
most=$((40 << 20))
executables=(primitives test_ops_on_gpu test_models_on_gpu test_nccl_on_gpu gpu_kernel_bench gpu_engine_bench weftctl weft-worker)
rm -rf "$to"
mkdir -p "$to"/{bin,lib}
for name in "${executables[@]}"; do
  strip -o "$to/bin/$name" "$build/bin/$name"
  if ldd "$build/bin/$name" | grep 'not found' >&2; then exit 1; fi
  ldd "$build/bin/$name" | awk '/=> \// { print $3 }'
done | sort -u | while IFS= read -r library; do
  case $(basename "$library") in
    ld-linux* | libc.so* | libm.so* | libdl.so* | libpthread.so* | librt.so* | libresolv.so*) ;;
    *) strip --strip-unneeded -o "$to/lib/$(basename "$library")" "$library" ;;
  esac
done
tar -C "$to" --sort=name --owner=0 --group=0 --mtime=@0 -cf - bin lib | gzip -9n >"$to/bundle.tar.gz"
rm -rf "${to:?}"/{bin,lib}
git rev-parse HEAD >"$to/COMMIT" 2>/dev/null || echo unknown >"$to/COMMIT"
size=$(du -sb "$to" | cut -f1)
printf '%s: %s bytes\n' "$to" "$size"
if ((size > most)); then
  printf 'more than the %s bytes that travel with the sources\n' "$most" >&2
  exit 1
fi
