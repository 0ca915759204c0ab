// What the kernel tests run on: the emulator (tests/unit/ops/gpu) or a real GPU (tests/gpu). The
// cases are the same.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "libs/base/status.h"
#include "libs/device/device.h"
#include "libs/ops/gpu_status.h"
#include "libs/ops/op_table.h"
#include "libs/tensor/half.h"
#include "tests/support/catch.h"
#include "tests/unit/ops/op_fixture.h"

namespace weft::test {

// Defined once per program: which device it is.
std::unique_ptr<Device> MakeTestDevice();
// Counts of the latest launch, where the device counts: requires that at least `coalesced` of the
// sectors it touched were needed, and that no access to shared memory took more passes over the
// banks than it must. kLoads: stores may, those of staged copies among them.
enum class Conflictless { kAll, kLoads };
void RequireCost(double coalesced, Conflictless conflictless = Conflictless::kAll);

// A vector's copy on the device.
template <typename T>
struct OnDevice {
  DeviceBuffer buffer;
  size_t count = 0;
  T* get() const { return static_cast<T*>(buffer.get()); }
};

class Rig {
 public:
  Rig() : device_(MakeTestDevice()), stream_(MakeStream(*device_).value()) {}

  template <typename T>
  OnDevice<T> Put(const std::vector<T>& values) {
    OnDevice<T> out = Room<T>(values.size());
    const uint64_t bytes = values.size() * sizeof(T);
    if (bytes == 0) return out;
    PinnedBuffer pinned = MakePinnedBuffer(*device_, bytes).value();
    std::memcpy(pinned.get(), values.data(), bytes);
    Require(device_->CopyAsync(out.get(), pinned.get(), bytes, CopyKind::kToDevice, stream_.get()));
    Wait();
    return out;
  }
  // Memory that nothing has written.
  template <typename T>
  OnDevice<T> Room(size_t count) {
    return {MakeDeviceBuffer(*device_, std::max<size_t>(count, 1) * sizeof(T)).value(), count};
  }
  // What is on the device once all launches are done. On the emulator an element that nothing wrote
  // is an error.
  template <typename T>
  std::vector<T> Get(const OnDevice<T>& from) {
    std::vector<T> out(from.count);
    const uint64_t bytes = from.count * sizeof(T);
    if (bytes == 0) return out;
    PinnedBuffer pinned = MakePinnedBuffer(*device_, bytes).value();
    Require(device_->CopyAsync(pinned.get(), from.get(), bytes, CopyKind::kToHost, stream_.get()));
    Wait();
    std::memcpy(out.data(), pinned.get(), bytes);
    return out;
  }
  // A launcher's answer, and what the launch itself found.
  void Run(const gpu::LaunchResult& result) {
    Require(gpu::ToStatus(result));
    Wait();
  }
  void* stream() const { return stream_.get(); }
  Device& device() const { return *device_; }

 private:
  static void Require(const absl::Status& status) {
    INFO(ToString(status));
    REQUIRE(status.ok());
  }
  void Wait() { Require(device_->Synchronize(stream_.get())); }

  std::unique_ptr<Device> device_;
  Stream stream_;
};

inline std::vector<uint16_t> ToBf16(const std::vector<float>& values) {
  std::vector<uint16_t> out;
  out.reserve(values.size());
  for (const float value : values) {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    out.push_back(static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16));
  }
  return out;
}
inline std::vector<float> FromBf16(const std::vector<uint16_t>& values) {
  std::vector<float> out;
  out.reserve(values.size());
  for (const uint16_t value : values) out.push_back(Bf16ToFloat(value));
  return out;
}

// |found - expected| / |expected|, of whole vectors; infinite where something is not a number.
inline double RelativeError(const std::vector<float>& found, const std::vector<float>& expected) {
  if (found.size() != expected.size()) return INFINITY;
  double error = 0;
  double norm = 1e-30;
  for (size_t i = 0; i < found.size(); ++i) {
    error += std::pow(static_cast<double>(found[i]) - expected[i], 2);
    norm += std::pow(static_cast<double>(expected[i]), 2);
  }
  const double relative = std::sqrt(error / norm);
  return std::isnan(relative) ? INFINITY : relative;
}

// The oracle's context.
struct RefContext {
  RefContext() : team({.threads = 1}) {
    context.team = &team;
    context.scratch.resize(1);
  }
  ThreadTeam team;
  OpContext context;
};

}  // namespace weft::test
