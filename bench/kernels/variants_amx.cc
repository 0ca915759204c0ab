// AMX: how many tile products run before their scaling, in a bare loop and in the kernel; whether
// the next panel is fetched; tiles of eight rows; Q6_K as bytes.
#include <immintrin.h>

#include "bench/kernels/variants.h"
#include "libs/device/cpu_features.h"
#include "libs/ops/amx_kernels.h"
#include "libs/ops/pack_codes.h"
#include "libs/tensor/block_formats.h"

namespace weft::bench {
namespace {

using S = cpu::SimdAmx;

constexpr int kBlocks = 1024;  // of a bare loop

// The inner loop alone: 16 rows against the blocks of one group, kAhead products before kAhead
// scalings. Weights, activations and scales are the same block again and again, from L1.
struct alignas(64) BareBlock {
  uint8_t weights[512];
  int8_t x[512];
  float d[16], m[16], scale[16], scaled_sum[16];
  float out[16][16];
};

template <int kAhead>
void Bare(BareBlock& data, int blocks) {
  struct alignas(64) {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t bytes[16] = {64, 32, 64};
    uint8_t rows[16] = {16, 16, 8};
  } config;
  _tile_loadconfig(&config);
  alignas(64) int32_t products[2][kAhead][16][16];
  S::F sums[16];
  for (S::F& sum : sums) sum = S::Set1(0.0f);
  const auto multiply = [&](int set) {
    for (int a = 0; a < kAhead; ++a) {
      _tile_zero(0);
      _tile_loadd(1, data.x, 32);
      _tile_loadd(2, data.weights, 64);
      _tile_dpbsud(0, 1, 2);
      _tile_stored(0, products[set][a], 64);
    }
  };
  multiply(0);
  for (int b = 0; b < blocks; b += kAhead) {
    const int set = b / kAhead % 2;
    multiply(1 - set);
    for (int a = 0; a < kAhead; ++a) {
      const S::F d = S::Load(data.d);
      const S::F m = S::Load(data.m);
#pragma GCC unroll 16
      for (int r = 0; r < 16; ++r) {
        const S::F dot = S::ToFloat(_mm512_load_si512(products[set][a][r]));
        sums[r] = S::Fma(dot, S::Mul(d, S::Set1(data.scale[r])), sums[r]);
        sums[r] = S::Fma(m, S::Set1(data.scaled_sum[r]), sums[r]);
      }
    }
  }
  _tile_release();
  for (int r = 0; r < 16; ++r) S::Store(data.out[r], sums[r]);
}

template <typename Tile>
void InTheKernel(DType type, std::vector<Variant>& out) {
  const auto add = [&](const std::string& where, const std::shared_ptr<Operands>& operands,
                       int64_t rows) {
    const std::string group =
        "amx, " + std::string(Name(type)) + ", " + std::to_string(rows) + " rows" + where;
    const double work =
        1e-9 * static_cast<double>(operands->weight.rows * operands->weight.cols * rows);
    const auto variant = [&](const std::string& name, bool used, auto run) {
      out.push_back({group, name, used, "GMAC/s", work,
                     [operands, run, rows] { run(operands->First(rows)); }});
    };
    variant("products one block ahead, the next panel fetched", true, cpu::AmxMatmul<Tile>::Run);
    variant("products 2 blocks ahead", false, cpu::AmxMatmul<Tile, 2>::Run);
    variant("products 4 blocks ahead", false, cpu::AmxMatmul<Tile, 4>::Run);
    variant("products 8 blocks ahead", false, cpu::AmxMatmul<Tile, 8>::Run);
    variant("nothing fetched", false, cpu::AmxMatmul<Tile, 1, false>::Run);
  };
  add(", weights from memory", FromMemory(type), 16);
  add("", std::make_shared<Operands>(type, 256, 1536, 256), 256);
}

// Q6_K as signed bytes with fp32 scales, a half more to read.
std::shared_ptr<std::vector<uint8_t>> Expanded(const Operands& operands) {
  const int64_t cols = operands.weight.cols;
  const int64_t group_bytes = cpu::GroupBytes(cpu::Layout::kCodes, cols);
  const auto row_bytes = static_cast<int64_t>(*BytesFor(DType::kQ6_K, cols));
  auto out = std::make_shared<std::vector<uint8_t>>(
      static_cast<size_t>(group_bytes * operands.weight.groups()));
  for (int64_t row = 0; row < operands.weight.rows; ++row) {
    cpu::PackCodesRow(*FindBlockFormat(DType::kQ6_K), operands.raw.data() + row * row_bytes, cols,
                      static_cast<int>(row % 16), out->data() + row / 16 * group_bytes);
  }
  return out;
}

}  // namespace

std::vector<Variant> AmxVariants() {
  std::vector<Variant> out;
  const auto block = std::make_shared<BareBlock>();
  const auto bare = [&](const std::string& name, bool used, auto run) {
    out.push_back({"amx, products before their scaling, bare loop of Q4", name, used, "GMAC/s",
                   1e-9 * kBlocks * 16 * 16 * 32, [block, run] { run(*block, kBlocks); }});
  };
  bare("one block ahead", true, Bare<1>);
  bare("4 blocks ahead", false, Bare<4>);
  bare("8 blocks ahead", false, Bare<8>);
  bare("16 blocks ahead", false, Bare<16>);

  InTheKernel<cpu::Q4KTile<S>>(DType::kQ4_K, out);
  InTheKernel<cpu::Q8Tile<S>>(DType::kQ8_0, out);
  InTheKernel<cpu::Q6Tile<S>>(DType::kQ6_K, out);
  const auto eight = std::make_shared<Operands>(DType::kQ4_1, 256, 1536, 8);
  const double work8 = 8e-9 * 256 * 1536;
  out.push_back({"amx, Q4_1, 8 rows", "vectors", true, "GMAC/s", work8,
                 [eight] { cpu::GetKernels(Isa::kAmx).matmul(eight->Args()); }});
  out.push_back({"amx, Q4_1, 8 rows", "tiles of 8 rows", false, "GMAC/s", work8,
                 [eight] { cpu::AmxMatmul<cpu::Q4Tile<S>>::Run(eight->Args()); }});

  const auto six = std::make_shared<Operands>(DType::kQ6_K, 256, 1536, 64);
  const auto codes = Expanded(*six);
  const double work64 = 64e-9 * 256 * 1536;
  out.push_back({"amx, Q6_K, 64 rows from cache", "6.6 bits a weight", true, "GMAC/s", work64,
                 [six] { cpu::GetKernels(Isa::kAmx).matmul(six->Args()); }});
  out.push_back({"amx, Q6_K, 64 rows from cache", "signed bytes, 10 bits a weight", false, "GMAC/s",
                 work64, [six, codes] {
                   cpu::MatmulArgs args = six->Args();
                   args.layout = cpu::Layout::kCodes;
                   args.weights = codes->data();
                   cpu::GetKernels(Isa::kAmx).matmul(args);
                 }});
  return out;
}

}  // namespace weft::bench
