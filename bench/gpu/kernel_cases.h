// One kernel on one device: timed by events over many launches, beside the bytes and operations
// that it cannot do without. kernel_bench.cc says what is printed.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "libs/base/status.h"
#include "libs/device/device.h"
#include "libs/ops/gpu_launch.h"
#include "libs/tensor/dtype.h"

namespace weft::bench {

struct KernelOptions {
  int32_t device = 0;
  std::string only;
  int32_t repeats = 50;
  bool small = false;
};

// The unit that does a kernel's operations: its dense rate on Hopper is the other roof.
enum class Unit { kNone, kBf16, kFp8 };

class KernelCases {
 public:
  KernelCases(Device& device, const KernelOptions& options) : device_(device), o_(options) {}
  absl::Status Open();

  // A launch with the i-th copy of its inputs.
  using Launch = std::function<gpu::LaunchResult(int32_t i)>;
  // Times it and prints a line.
  absl::Status Case(const std::string& kernel, const std::string& shape, uint64_t bytes,
                    const Launch& launch, double operations = 0, Unit unit = Unit::kNone);

  // Memory with small random bf16 numbers, or blocks of another type.
  absl::StatusOr<DeviceBuffer> Random(uint64_t bytes, DType type = DType::kBF16);
  // fp32: pairs of bf16 words read as one number are small too.
  absl::StatusOr<DeviceBuffer> Floats(uint64_t count) { return Random(count * 4); }
  absl::StatusOr<DeviceBuffer> Room(uint64_t bytes) { return MakeDeviceBuffer(device_, bytes); }
  template <typename T>
  absl::StatusOr<DeviceBuffer> Put(const std::vector<T>& values) {
    const uint64_t bytes = std::max<uint64_t>(values.size() * sizeof(T), 1);
    WEFT_ASSIGN_OR_RETURN(DeviceBuffer buffer, MakeDeviceBuffer(device_, bytes));
    WEFT_ASSIGN_OR_RETURN(const PinnedBuffer pinned, MakePinnedBuffer(device_, bytes));
    std::copy(values.begin(), values.end(), static_cast<T*>(pinned.get()));
    WEFT_RETURN_IF_ERROR(
        device_.CopyAsync(buffer.get(), pinned.get(), bytes, CopyKind::kToDevice, stream_.get()));
    WEFT_RETURN_IF_ERROR(device_.Synchronize(stream_.get()));
    return buffer;
  }
  // Copies of so much memory that are together three times the L2 cache.
  absl::StatusOr<std::vector<DeviceBuffer>> Copies(uint64_t bytes, DType type = DType::kBF16);
  template <typename T>
  static T* At(const std::vector<DeviceBuffer>& copies, int32_t i) {
    return static_cast<T*>(copies[static_cast<size_t>(i) % copies.size()].get());
  }

  bool small() const { return o_.small; }
  bool hopper() const { return device_.info().major == 9; }
  const DeviceInfo& info() const { return device_.info(); }
  void* stream() const { return stream_.get(); }

 private:
  // Milliseconds of one launch: the median of several rounds.
  absl::StatusOr<double> Time(const Launch& launch);

  Device& device_;
  const KernelOptions& o_;
  Stream stream_;
  Event begin_, end_;
  double read_rate_ = 1;
  uint64_t seed_ = 0;
};

absl::Status ProductCases(KernelCases& cases);
absl::Status AttentionCases(KernelCases& cases);
// Norms, activations and what chooses tokens: a row at a time.
absl::Status RowCases(KernelCases& cases);

}  // namespace weft::bench
