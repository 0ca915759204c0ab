// Device memory that is planned before it is taken: every part reserves its bytes at load, one
// allocation follows, and a step can no longer run out of memory.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "libs/device/device.h"

namespace weft {

// Use: Plan() for every part, Commit() once, then At(). One thread at a time.
class DeviceArena {
 public:
  // Where a part lies in the arena.
  struct Slice {
    uint64_t offset = 0;
    uint64_t bytes = 0;
  };
  static constexpr uint64_t kAlignment = 256;

  explicit DeviceArena(Device& device) : device_(device) {}

  // Room for `bytes` (0 is fine), aligned to kAlignment. `name` is for messages. CHECKs that Commit
  // was not called yet. Kernels that copy 16 bytes at a time may read up to 15 bytes before or
  // after a part: they stay inside the arena.
  Slice Plan(std::string_view name, uint64_t bytes);

  // Takes the memory of all parts, but only if `reserve` bytes of the device stay free then.
  // kResourceExhausted, naming the largest parts, otherwise; kFailedPrecondition when called twice.
  absl::Status Commit(uint64_t reserve);

  template <typename T = uint8_t>
  T* At(Slice slice) const {
    return reinterpret_cast<T*>(static_cast<uint8_t*>(memory_.get()) + slice.offset);
  }
  bool committed() const { return static_cast<bool>(memory_); }
  uint64_t bytes() const { return used_ + kAlignment; }

 private:
  struct Part {
    std::string name;
    uint64_t bytes = 0;
  };
  Device& device_;
  std::vector<Part> parts_;
  uint64_t used_ = kAlignment;  // so that reading a little before the first part is harmless
  DeviceBuffer memory_;
};

}  // namespace weft
