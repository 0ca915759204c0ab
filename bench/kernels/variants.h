// Kernels that lost, beside the ones in use: each group does the same work in several ways.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "libs/ops/kernels.h"
#include "libs/ops/weight.h"
#include "libs/tensor/storage.h"

namespace weft::bench {

struct Variant {
  std::string group;
  std::string name;
  bool used;         // the one that libs/ops has
  std::string unit;  // of amount / time: "GMAC/s", "GB/s"; "us": microseconds for `amount` of it
  double amount;     // 10^9 of the unit in one run; for "us" how often the thing is done
  std::function<void()> run;
};

// Random weights of a type, repacked, and random rows of activations.
struct Operands {
  Operands(DType type, int64_t outputs, int64_t cols, int64_t rows);
  cpu::MatmulArgs Args();
  cpu::MatmulArgs First(int64_t some);  // of the rows

  std::vector<uint8_t> raw;
  PageArena arena;
  Weight weight;
  int64_t rows;
  std::vector<float> values, out, scale, scaled_sum;
  std::vector<int8_t> q;
  std::vector<int32_t> minus128sum;
  cpu::QuantizedRows x;
};

// 19 rows against 65536 x 4096 weights: more than caches hold, unless they are very large. One for
// all who ask for the type.
std::shared_ptr<Operands> FromMemory(DType type);
inline constexpr double kFromMemoryRow = 1e-9 * 65536 * 4096;  // 10^9 multiply-adds of one row

// 32 rows of three query heads over 512 tokens of one KV head of 64.
struct AttentionOperands {
  AttentionOperands();
  cpu::AttentionArgs Args();
  static constexpr double kWork = 2e-9 * 32 * 3 * 64 * 512;

  std::vector<uint16_t> cache;
  std::vector<int32_t> table;
  std::vector<float> q, out, scratch;
};

// Each is empty where this processor lacks the level.
std::vector<Variant> Avx2Variants();
std::vector<Variant> Avx512Variants();
std::vector<Variant> AmxVariants();
// Of the thread team and of ops on it.
std::vector<Variant> TeamVariants();

}  // namespace weft::bench
