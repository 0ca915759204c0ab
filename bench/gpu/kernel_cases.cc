#include "bench/gpu/kernel_cases.h"

#include "libs/ops/gpu_status.h"
#include "libs/ops/random_gpu.h"

namespace weft::bench {
namespace {

// Dense operations a second of an H100 SXM or H200, "NVIDIA H100 Tensor Core GPU" datasheet (its
// figures are with sparsity: half of them).
constexpr double kBf16Rate = 989.4e12;
constexpr double kFp8Rate = 1978.9e12;

}  // namespace

absl::Status KernelCases::Open() {
  WEFT_ASSIGN_OR_RETURN(stream_, MakeStream(device_));
  WEFT_ASSIGN_OR_RETURN(begin_, MakeEvent(device_));
  WEFT_ASSIGN_OR_RETURN(end_, MakeEvent(device_));
  return absl::OkStatus();
}

absl::StatusOr<double> KernelCases::Time(const Launch& launch) {
  const int32_t rounds = o_.small ? 1 : 7;
  std::vector<double> times;
  for (int32_t round = -1; round < rounds; ++round) {
    WEFT_RETURN_IF_ERROR(device_.Record(begin_.get(), stream_.get()));
    for (int32_t i = 0; i < o_.repeats; ++i) WEFT_RETURN_IF_ERROR(gpu::ToStatus(launch(i)));
    WEFT_RETURN_IF_ERROR(device_.Record(end_.get(), stream_.get()));
    WEFT_RETURN_IF_ERROR(device_.Synchronize(stream_.get()));
    WEFT_ASSIGN_OR_RETURN(const double ms, device_.Milliseconds(begin_.get(), end_.get()));
    if (round >= 0) times.push_back(ms / o_.repeats);  // the first one warms up
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

absl::Status KernelCases::Case(const std::string& kernel, const std::string& shape, uint64_t bytes,
                               const Launch& launch, double operations, Unit unit) {
  if (!o_.only.empty() && kernel != "read" && kernel.find(o_.only) == std::string::npos) {
    return absl::OkStatus();
  }
  WEFT_ASSIGN_OR_RETURN(const double ms, Time(launch));
  const double seconds = ms * 1e-3;
  const double rate = static_cast<double>(bytes) / seconds;
  if (kernel == "read") read_rate_ = std::max(read_rate_, rate);
  const double peak = unit == Unit::kFp8 ? kFp8Rate : kBf16Rate;
  const double roof = std::max(static_cast<double>(bytes) / read_rate_,
                               unit == Unit::kNone || !hopper() ? 0.0 : operations / peak);
  std::printf(
      "{\"device\": \"%s\", \"kernel\": \"%s\", \"shape\": \"%s\", \"bytes\": %llu, \"us\": "
      "%.2f, \"gb_s\": %.1f, \"of_read\": %.3f, \"tflop_s\": %.2f, \"roof_us\": %.2f, \"of_roof\": "
      "%.3f}\n",
      device_.info().name.c_str(), kernel.c_str(), shape.c_str(),
      static_cast<unsigned long long>(bytes), ms * 1e3, rate * 1e-9, rate / read_rate_,
      operations / seconds * 1e-12, roof * 1e6, roof / seconds);
  std::fflush(stdout);
  return absl::OkStatus();
}

absl::StatusOr<DeviceBuffer> KernelCases::Random(uint64_t bytes, DType type) {
  WEFT_ASSIGN_OR_RETURN(DeviceBuffer buffer, MakeDeviceBuffer(device_, bytes));
  WEFT_RETURN_IF_ERROR(gpu::ToStatus(gpu::FillRandom(
      type, {.to = buffer.get(), .bytes = bytes, .seed = ++seed_, .deviation = 0.02f},
      stream_.get())));
  return buffer;
}

absl::StatusOr<std::vector<DeviceBuffer>> KernelCases::Copies(uint64_t bytes, DType type) {
  const uint64_t count =
      o_.small
          ? 2
          : std::clamp<uint64_t>(3 * device_.info().l2_bytes / std::max<uint64_t>(bytes, 1), 2, 64);
  std::vector<DeviceBuffer> copies;
  for (uint64_t i = 0; i < count; ++i) {
    WEFT_ASSIGN_OR_RETURN(DeviceBuffer one, Random(bytes, type));
    copies.push_back(std::move(one));
  }
  return copies;
}

}  // namespace weft::bench
