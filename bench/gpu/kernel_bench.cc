// Every hot kernel on one GPU, on the shapes of an 8B model: time by events over many launches, the
// bytes it must move, and what part that is of a kernel which only reads, timed in the same run.
// Its roof is the larger of the bytes at that rate and the operations at the tensor cores' nominal
// one (Hopper; elsewhere the bytes alone). One JSON object a line.
//
//   gpu_kernel_bench [--device N] [--only TEXT] [--repeats N] [--small]
//
// Inputs rotate among copies that are together larger than the L2 cache. --small: shapes and
// repeats that the emulator can run, to try the program out.
#include <CLI/CLI.hpp>

#include "bench/gpu/bench_device.h"
#include "bench/gpu/kernel_cases.h"
#include "bench/gpu/read_gpu.h"

namespace weft::bench {
namespace {

absl::Status Reading(KernelCases& cases) {
  const uint64_t bytes = cases.small() ? 1 << 16 : uint64_t{4} << 30;
  WEFT_ASSIGN_OR_RETURN(const DeviceBuffer from, cases.Random(bytes));
  WEFT_ASSIGN_OR_RETURN(const DeviceBuffer sum, cases.Room(256));
  for (const int32_t blocks : {2, 4}) {  // of each multiprocessor
    const gpu::ReadParams params{from.get(), bytes, static_cast<uint32_t*>(sum.get()),
                                 cases.info().multiprocessors * blocks};
    WEFT_RETURN_IF_ERROR(cases.Case("read",
                                    fmt::format("{} bytes, {} blocks", bytes, params.blocks), bytes,
                                    [&](int32_t) { return gpu::Read(params, cases.stream()); }));
  }
  return absl::OkStatus();
}

absl::Status RunAll(Device& device, const KernelOptions& options) {
  KernelCases cases(device, options);
  WEFT_RETURN_IF_ERROR(cases.Open());
  WEFT_RETURN_IF_ERROR(Reading(cases));
  WEFT_RETURN_IF_ERROR(ProductCases(cases));
  WEFT_RETURN_IF_ERROR(AttentionCases(cases));
  return RowCases(cases);
}

int Main(int argc, char** argv) {
  KernelOptions o;
  CLI::App app("The kernels on a GPU beside one that only reads");
  app.add_option("--device", o.device, "number of the GPU");
  app.add_option("--only", o.only, "kernels whose names hold this");
  app.add_option("--repeats", o.repeats, "launches of one timing")->check(CLI::Range(1, 10'000));
  app.add_flag("--small", o.small, "shapes and repeats for the emulator");
  CLI11_PARSE(app, argc, argv);
  if (o.small) o.repeats = 1;
  absl::StatusOr<std::unique_ptr<Device>> device = OpenBenchDevice(o.device);
  const absl::Status status = device.ok() ? RunAll(**device, o) : device.status();
  if (status.ok()) return 0;
  std::fprintf(stderr, "gpu_kernel_bench: %s\n", ToString(status).c_str());
  return 1;
}

}  // namespace
}  // namespace weft::bench

int main(int argc, char** argv) { return weft::bench::Main(argc, argv); }
