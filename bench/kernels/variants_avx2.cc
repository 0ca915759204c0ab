// AVX2: products of many rows from a panel, whose successor is fetched or not, or pass by pass as
// few rows are computed; attention.
#include "bench/kernels/variants.h"
#include "bench/kernels/variants_attention.h"
#include "libs/device/cpu_features.h"
#include "libs/ops/avx2_panel.h"

namespace weft::bench {

namespace {

template <typename Tile>
void AddFromMemory(DType type, std::vector<Variant>& out) {
  const auto operands = FromMemory(type);
  const auto variant = [&](int64_t rows, const std::string& name, bool used, auto run) {
    out.push_back({"avx2, " + std::string(Name(type)) + ", " + std::to_string(rows) +
                       " rows, weights from memory",
                   name, used, "GMAC/s", static_cast<double>(rows) * kFromMemoryRow,
                   [operands, run, rows] { run(operands->First(rows)); }});
  };
  variant(16, "panel, the next one fetched meanwhile", true, cpu::Avx2Panel<Tile>::Run);
  variant(16, "panel, nothing fetched", false, cpu::Avx2Panel<Tile, false>::Run);
  if (Tile::kSum == cpu::Sum::kSigned) {
    variant(16, "panel, x widened for each group", false, cpu::Avx2Panel<Tile, true, 1>::Run);
  }
  variant(16, "passes of 4 rows", false, cpu::Matmul<cpu::SimdAvx2>);
  variant(19, "16 rows, then 3, of 512 KB at a time", true, cpu::GetKernels(Isa::kAvx2).matmul);
  variant(19, "16 rows of all, then 3", false, [](const cpu::MatmulArgs& args) {
    cpu::Avx2Panel<Tile>::Run(args);
    cpu::MatmulArgs rest = args;
    rest.rows = 3;
    rest.x = args.x.from(16);
    rest.out += 16 * args.out_stride;
    cpu::Matmul<cpu::SimdAvx2>(rest);
  });
}

}  // namespace

std::vector<Variant> Avx2Variants() {
  std::vector<Variant> out;
  for (const DType type : {DType::kQ4_1, DType::kQ4_K, DType::kQ6_K, DType::kQ8_0}) {
    const auto operands = std::make_shared<Operands>(type, 256, 1536, 64);
    const std::string group = "avx2, " + std::string(Name(type)) + ", 64 rows";
    const double work = 64e-9 * 256 * 1536;
    out.push_back({group, type == DType::kQ8_0 ? "panel of words" : "panel of bytes", true,
                   "GMAC/s", work,
                   [operands] { cpu::GetKernels(Isa::kAvx2).matmul(operands->Args()); }});
    out.push_back({group,
                   type == DType::kQ8_0 ? "passes of 4 rows, products of magnitudes and signs"
                                        : "passes of 4 rows, unpacked for each",
                   false, "GMAC/s", work,
                   [operands] { cpu::Matmul<cpu::SimdAvx2>(operands->Args()); }});
    if (type != DType::kQ8_0) continue;
    out.push_back(
        {group, "panel of words, x widened for each group", false, "GMAC/s", work, [operands] {
           using Tile = cpu::Q8Tile<cpu::SimdAvx2>;
           cpu::Avx2Panel<Tile, true, 1>::Run(operands->Args());
         }});
  }
  AddFromMemory<cpu::Q8Tile<cpu::SimdAvx2>>(DType::kQ8_0, out);
  AddFromMemory<cpu::Q4KTile<cpu::SimdAvx2>>(DType::kQ4_K, out);
  AddFromMemory<cpu::Q6Tile<cpu::SimdAvx2>>(DType::kQ6_K, out);
  const auto attention = std::make_shared<AttentionOperands>();
  const auto attend = [&](const std::string& name, bool used, auto run) {
    out.push_back({"avx2, attention of 32 rows", name, used, "GMAC/s", AttentionOperands::kWork,
                   [attention, run] { run(attention->Args()); }});
  };
  attend("K and V read as halves", true, cpu::GetKernels(Isa::kAvx2).attention);
  attend("converted to floats once", false, ConvertingAttention<cpu::SimdAvx2>);
  return out;
}

}  // namespace weft::bench
