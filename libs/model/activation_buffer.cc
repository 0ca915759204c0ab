#include "libs/model/activation_buffer.h"

namespace weft {

void ActivationBuffer::AddConsumer(int64_t width, const Weight& weight, const OpTable& ops) {
  width_ = width;
  // A block of 32 must not cross rows. Quantised formats guarantee it for their own input.
  const bool quantized = ops.quantizes(weight) && width % 32 == 0;
  quantized_ |= quantized;
  floats_ |= !quantized;
}

void ActivationBuffer::Reserve(int64_t rows, OpContext& context) {
  on_device_ = context.device != nullptr;
  if (on_device_) {
    bf16_.Reserve(rows * width_, "activations", context);
    return;
  }
  if (rows * width_ <= reserved_) return;
  reserved_ = rows * width_;
  const auto elements = static_cast<size_t>(reserved_);
  if (floats_) data_.resize(elements);
  if (!quantized_) return;
  q_.resize(elements);
  scale_.resize(elements / 32);
  scaled_sum_.resize(elements / 32);
  minus128sum_.resize(elements / 16);
}

uint64_t ActivationBuffer::bytes() const {
  return data_.size() * 4 + q_.size() + scale_.size() * 4 + scaled_sum_.size() * 4 +
         minus128sum_.size() * 4;
}

Activations ActivationBuffer::view(int64_t rows) {
  Activations view;
  view.width = width_;
  if (on_device_) {
    view.bf16 = bf16_.data();
    return view;
  }
  view.data = floats_ ? data_.data() : nullptr;
  if (quantized_) {
    view.quantized = {q_.data(), scale_.data(), scaled_sum_.data(), minus128sum_.data(), rows};
  }
  return view;
}

uint64_t ReserveFloats(std::vector<float>& buffer, int64_t floats) {
  if (buffer.size() < static_cast<size_t>(floats)) buffer.resize(static_cast<size_t>(floats));
  return buffer.size() * sizeof(float);
}

}  // namespace weft
