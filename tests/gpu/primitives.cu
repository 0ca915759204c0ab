// Runs every case of tests/support/primitive_cases.h on GPU 0 (sm_90a) and compares with what the
// documented layouts give; the emulator's unit test runs the same list. Prints a line for each
// case; exits with 1 if one differs. Needs nothing but nvcc:
//   nvcc -std=c++20 --expt-relaxed-constexpr -gencode arch=compute_90a,code=sm_90a -I.
//     tests/gpu/primitives.cu -o primitives
#include <cstdio>

#include "tests/support/primitive_cases.h"

namespace weft::gpu {
namespace {

bool Failed(cudaError_t error, const char* what) {
  if (error != cudaSuccess) std::printf("  %s: %s\n", what, cudaGetErrorString(error));
  return error != cudaSuccess;
}

bool RunCase(const PrimitiveCase& c) {
  const std::vector<uint32_t> in = c.make_input(c.in_words);
  const std::vector<uint32_t> want = c.expect(in);
  uint32_t* from = nullptr;
  uint32_t* to = nullptr;
  if (Failed(cudaMalloc(&from, c.in_words * 4), "cudaMalloc") ||
      Failed(cudaMalloc(&to, c.out_words * 4), "cudaMalloc")) {
    return false;
  }
  cudaMemcpy(from, in.data(), c.in_words * 4, cudaMemcpyHostToDevice);
  cudaMemset(to, 0xff, c.out_words * 4);  // what is not written differs
  PrimitiveParams params{};
  params.in = from;
  params.out = to;
  const char* error = nullptr;
  if (c.has_map) {
    error = MakeTensorMap(c.map, from, &params.map);
    if (error == nullptr) error = MakeTensorMap(c.map, to, &params.store_map);
  }
  std::vector<uint32_t> got(c.out_words);
  bool ok = error == nullptr;
  if (!ok) std::printf("  %s\n", error);
  ok =
      ok &&
      !Failed(Launch(c.kernel, {dim3(1), dim3(c.threads), c.shared_bytes, c.name}, nullptr, params),
              "launch") &&
      !Failed(cudaDeviceSynchronize(), "kernel") &&
      !Failed(cudaMemcpy(got.data(), to, c.out_words * 4, cudaMemcpyDeviceToHost), "copy");
  size_t wrong = 0;
  for (size_t i = 0; ok && i < got.size(); ++i) {
    if (got[i] != want[i] && ++wrong <= 4) {
      std::printf("  word %zu: %08x, expected %08x\n", i, got[i], want[i]);
    }
  }
  cudaFree(from);
  cudaFree(to);
  return ok && wrong == 0;
}

}  // namespace
}  // namespace weft::gpu

int main() {
  int failed = 0;
  for (const weft::gpu::PrimitiveCase& c : weft::gpu::PrimitiveCases()) {
    const bool ok = weft::gpu::RunCase(c);
    std::printf("%s  %s\n", ok ? "same  " : "DIFFER", c.name);
    failed += ok ? 0 : 1;
  }
  return failed == 0 ? 0 : 1;
}
