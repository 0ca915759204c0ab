// Random weights and activations for op tests.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "libs/base/status.h"
#include "libs/device/cpu_features.h"
#include "libs/device/thread_team.h"
#include "libs/ops/op_table.h"
#include "libs/tensor/half.h"
#include "tests/support/random_blocks.h"

namespace weft::test {

inline std::vector<float> RandomFloats(size_t count, uint32_t seed, float scale = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> out(count);
  for (float& value : out) value = normal(random);
  return out;
}

// A weight in its file format, with random bits and small random scales.
struct RawWeight {
  RawWeight(DType type, int64_t rows, int64_t cols, uint32_t seed) {
    std::mt19937 random(seed);
    weight.type = type;
    weight.rows = rows;
    weight.cols = cols;
    bytes = RandomTensorBytes(type, rows * cols, 0.0f, 0.05f, random);
    weight.raw = bytes.data();
  }
  void PutHalf(size_t at, float value) { test::PutHalf(&bytes[at], value); }

  std::vector<uint8_t> bytes;
  Weight weight;
};

// Activations with their quantised form.
struct QuantizedActivations {
  QuantizedActivations(std::vector<float> values, int64_t width, const cpu::Kernels& kernels)
      : data(std::move(values)) {
    const auto rows = static_cast<int64_t>(data.size()) / width;
    const size_t blocks = width % 32 == 0 ? data.size() / 32 : 0;
    q.resize(blocks * 32);
    scale.resize(blocks);
    scaled_sum.resize(blocks);
    minus128sum.resize(2 * blocks);
    view.data = data.data();
    view.width = width;
    if (blocks == 0) return;
    view.quantized = {q.data(), scale.data(), scaled_sum.data(), minus128sum.data(), rows};
    for (int64_t r = 0; r < rows; ++r) {
      kernels.quantize(view.row(r), width, view.quantized.from(r));
    }
  }
  // The values that the int8 form stands for, [rows, width].
  std::vector<float> Dequantized() const {
    std::vector<float> out(q.size());
    const int64_t rows = view.quantized.stride;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t i = 0; i < view.width; ++i) {
        const int64_t at = i / 32 * rows + r;
        out[r * view.width + i] = static_cast<float>(q[at * 32 + i % 32]) * scale[at];
      }
    }
    return out;
  }

  bool SameQuantized(const QuantizedActivations& other) const {
    return q == other.q && scale == other.scale && scaled_sum == other.scaled_sum &&
           minus128sum == other.minus128sum;
  }

  std::vector<float> data;
  std::vector<int8_t> q;
  std::vector<float> scale, scaled_sum;
  std::vector<int32_t> minus128sum;
  Activations view;
};

struct CpuContext {
  explicit CpuContext(Isa isa, int threads = 1) : team({.threads = threads}) {
    context.team = &team;
    context.kernels = &cpu::GetKernels(isa);
    context.scratch.resize(static_cast<size_t>(threads));
  }
  ThreadTeam team;
  OpContext context;
};

inline bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return false;
  return a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace weft::test
