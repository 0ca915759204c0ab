// Activations of a step, with room for their quantised form where a consumer wants it.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "libs/model/step_buffer.h"
#include "libs/ops/op_table.h"

namespace weft {

// Grows with the largest step seen. One thread at a time.
class ActivationBuffer {
 public:
  // Whether fp32 values are kept even when all consumers want the quantised form.
  enum class Floats { kAlways, kIfRead };
  explicit ActivationBuffer(Floats floats = Floats::kAlways) : floats_(floats == Floats::kAlways) {}

  // Rows of `width`; the quantised form is kept when one of the weights that will multiply it wants
  // it. Called for every layer before the first Reserve.
  void AddConsumer(int64_t width, const Weight& weight, const OpTable& ops);

  // fp32 values are read, by more than the consumers.
  void KeepFloats() { floats_ = true; }

  void Reserve(int64_t rows, OpContext& context);
  uint64_t bytes() const;
  Activations view(int64_t rows);

 private:
  int64_t width_ = 0;
  bool quantized_ = false;
  bool floats_;
  int64_t reserved_ = 0;  // elements
  std::vector<float> data_;
  std::vector<int8_t> q_;
  std::vector<float> scale_;
  std::vector<float> scaled_sum_;
  std::vector<int32_t> minus128sum_;
  StepBuffer<uint16_t> bf16_;  // on a device, in place of all others
  bool on_device_ = false;
};

// Grows `buffer` to `floats` and returns the bytes it then takes.
uint64_t ReserveFloats(std::vector<float>& buffer, int64_t floats);

}  // namespace weft
