// AVX-512: how far ahead one row prefetches the weights it streams from memory; attention.
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
  return {variant("prefetch 2 KB ahead", true, OneRow<2048>),
          variant("no prefetch", false, OneRow<0>),
          variant("prefetch 512 bytes ahead", false, OneRow<512>),
          variant("prefetch 4 KB ahead", false, OneRow<4096>),
          attend("K and V read as halves", true, cpu::GetKernels(Isa::kAvx512).attention),
          attend("converted to floats once", false, ConvertingAttention<cpu::SimdAvx512>)};
}

}  // namespace weft::bench
