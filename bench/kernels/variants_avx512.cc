// AVX-512: how far ahead one row prefetches the weights it streams from memory; how many weights
// sixteen and more rows take at a time; attention.
#include "bench/kernels/variants.h"
#include "bench/kernels/variants_attention.h"
#include "libs/device/cpu_features.h"
#include "libs/ops/matmul_kernels.h"
#include "libs/ops/simd_avx512.h"

namespace weft::bench {
namespace {

template <int64_t kAhead>
void OneRow(const cpu::MatmulArgs& args) {
  using S = cpu::SimdAvx512;
  for (int64_t group = 0; group < args.groups; ++group) {
    cpu::QuantPass<S, 1, cpu::Q4KTile<S>, kAhead>::Run(args, group, 0);
  }
}

template <template <typename, int> class Pass, int64_t kBytes>
void FetchAhead(const cpu::MatmulArgs& args) {
  cpu::MatmulFetching<cpu::SimdAvx512, Pass, kBytes>(args);
}

template <template <typename, int> class Pass>
void CachedOnly(const cpu::MatmulArgs& args) {
  cpu::InCachedGroups<cpu::SimdAvx512>(args, cpu::MatmulRows<cpu::SimdAvx512, Pass>);
}

// Rows against weights from memory.
template <template <typename, int> class Pass>
void AddRows(std::vector<Variant>& variants, DType type, const std::string& name) {
  const auto weights = FromMemory(type);
  for (const int64_t rows : {1, 4, 16}) {
    const auto add = [&](const std::string& what, bool used, auto run) {
      variants.push_back({"avx512, " + std::to_string(rows) + " rows of " + name + " from memory",
                          what, used, "GMAC/s", static_cast<double>(rows) * kFromMemoryRow,
                          [weights, rows, run] { run(weights->First(rows)); }});
    };
    add("fetched 64 KB ahead", true, FetchAhead<Pass, 64 << 10>);
    add("fetched 32 KB ahead", false, FetchAhead<Pass, 32 << 10>);
    add("fetched 256 KB ahead", false, FetchAhead<Pass, 256 << 10>);
    add("512 KB at a time, not fetched", false, CachedOnly<Pass>);
  }
}

}  // namespace

std::vector<Variant> Avx512Variants() {
  // 300 MB: more than caches hold, unless they are very large.
  const auto operands = std::make_shared<Operands>(DType::kQ4_K, 131072, 4096, 1);
  const double gigabytes = 1e-9 * static_cast<double>(operands->weight.packed_bytes);
  const std::string group = "avx512, one row of Q4_K from memory";
  const auto variant = [&](const std::string& name, bool used, auto run) {
    return Variant{group,  name,      used,
                   "GB/s", gigabytes, [operands, run] { run(operands->Args()); }};
  };
  const auto attention = std::make_shared<AttentionOperands>();
  const auto attend = [&](const std::string& name, bool used, auto run) {
    return Variant{"avx512, attention of 32 rows",
                   name,
                   used,
                   "GMAC/s",
                   AttentionOperands::kWork,
                   [attention, run] { run(attention->Args()); }};
  };
  std::vector<Variant> variants = {
      variant("prefetch 2 KB ahead", true, OneRow<2048>),
      variant("no prefetch", false, OneRow<0>),
      variant("prefetch 512 bytes ahead", false, OneRow<512>),
      variant("prefetch 4 KB ahead", false, OneRow<4096>),
      attend("K and V read as halves", true, cpu::GetKernels(Isa::kAvx512).attention),
      attend("converted to floats once", false, ConvertingAttention<cpu::SimdAvx512>)};
  AddRows<cpu::Q4Pass>(variants, DType::kQ4_1, "Q4_1");
  AddRows<cpu::Q8Pass>(variants, DType::kQ8_0, "Q8_0");
  AddRows<cpu::Q4KPass>(variants, DType::kQ4_K, "Q4_K");
  AddRows<cpu::Bf16Pass>(variants, DType::kBF16, "BF16");
  AddRows<cpu::Q6Pass>(variants, DType::kQ6_K, "Q6_K");
  return variants;
}

}  // namespace weft::bench
