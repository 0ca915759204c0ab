// Memory that ops write and read during a step.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "libs/ops/op_device.h"
#include "libs/ops/op_table.h"

namespace weft {

// On the host it grows, and earlier contents are lost then; on a device (OpContext::device) Reserve
// plans it, and there is memory once the device has taken all that was planned. One thread at a
// time.
template <typename T>
class StepBuffer {
 public:
  // Returns the bytes held on the host. The context must outlive the buffer.
  uint64_t Reserve(int64_t elements, std::string_view name, OpContext& context) {
    const auto wanted = static_cast<size_t>(elements);
    device_ = context.device;
    if (device_ != nullptr) {
      slice_ = device_->step_memory().Plan(name, wanted * sizeof(T));
      return 0;
    }
    if (wanted > host_.size()) host_.resize(wanted);
    return host_.size() * sizeof(T);
  }

  // Null when nothing was reserved.
  T* data() { return device_ == nullptr ? host_.data() : device_->step_memory().At<T>(slice_); }

 private:
  std::vector<T> host_;
  OpDevice* device_ = nullptr;
  DeviceArena::Slice slice_;
};

}  // namespace weft
