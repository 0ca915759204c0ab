// Speed of single kernels on one thread, per instruction set: the best of many short runs, so that
// other load on the machine shows little.
//
//   kernel_bench [isa=auto|all] [filter]
//
// Before them, what handing a loop to the thread team costs. WEFT_BENCH_ONCE=1 runs each kernel
// once, for instruction counts under valgrind --tool=callgrind.
//
// Columns: kernel, shape, microseconds, and for matmul and attention 10^9 multiply-adds per second.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/status.h"
#include "libs/device/cpu_features.h"
#include "libs/device/thread_team.h"
#include "libs/ops/kernels.h"
#include "libs/ops/weight.h"
#include "libs/tensor/storage.h"

namespace weft {
namespace {

std::string filter;

double BestSeconds(const std::function<void()>& run) {
  using Clock = std::chrono::steady_clock;
  if (std::getenv("WEFT_BENCH_ONCE") != nullptr) {
    run();
    return 0;
  }
  double best = 1e9;
  const auto until = Clock::now() + std::chrono::milliseconds(400);
  for (int i = 0; i < 5 || Clock::now() < until; ++i) {
    const auto begin = Clock::now();
    run();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - begin).count());
  }
  return best;
}

void Report(const cpu::Kernels& kernels, const std::string& name, double multiply_adds,
            const std::function<void()>& run) {
  if (name.find(filter) == std::string::npos) return;
  const double seconds = BestSeconds(run);
  const std::string rate =
      multiply_adds > 0 ? fmt::format("{:8.1f} GMAC/s", multiply_adds / seconds * 1e-9) : "";
  std::printf("%-7s %-40s %10.1f us %s\n", std::string(Name(kernels.isa)).c_str(), name.c_str(),
              seconds * 1e6, rate.c_str());
}

struct Rows {
  Rows(int64_t rows, int64_t width)
      : values(static_cast<size_t>(rows * width)),
        q(values.size()),
        scale(values.size() / 32),
        scaled_sum(values.size() / 32),
        minus128sum(values.size() / 16) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (float& value : values) value = normal(random);
    view = {q.data(), scale.data(), scaled_sum.data(), minus128sum.data(), rows};
  }
  std::vector<float> values;
  std::vector<int8_t> q;
  std::vector<float> scale, scaled_sum;
  std::vector<int32_t> minus128sum;
  cpu::QuantizedRows view;
};

void Matmuls(const cpu::Kernels& kernels) {
  ThreadTeam team({.threads = 1});
  PageArena arena;
  constexpr int64_t kOutputs = 256;
  constexpr int64_t kCols = 1536;
  for (const DType type : {DType::kQ4_1, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K, DType::kQ8_0,
                           DType::kF16, DType::kF32}) {
    const std::vector<uint8_t> raw(*BytesFor(type, kOutputs * kCols), 17);
    Weight weight;
    weight.type = type;
    weight.rows = kOutputs;
    weight.cols = kCols;
    weight.raw = raw.data();
    weight = Repack(weight, "bench", team, arena).value();
    for (const int64_t rows : {1, 2, 4, 8, 16, 64}) {
      Rows x(rows, kCols);
      for (int64_t r = 0; r < rows; ++r) {
        kernels.quantize(x.values.data() + r * kCols, kCols, x.view.from(r));
      }
      std::vector<float> out(static_cast<size_t>(rows * kOutputs));
      Report(kernels, fmt::format("matmul {} {}x{} rows {}", Name(type), kOutputs, kCols, rows),
             static_cast<double>(rows * kOutputs * kCols), [&] {
               kernels.matmul({.layout = weight.layout,
                               .weights = weight.packed,
                               .cols = kCols,
                               .groups = weight.groups(),
                               .outputs = kOutputs,
                               .x = x.view,
                               .x_float = x.values.data(),
                               .rows = rows,
                               .out = out.data(),
                               .out_stride = kOutputs});
             });
    }
  }
}

void Attentions(const cpu::Kernels& kernels) {
  constexpr int32_t kGroup = 3;
  constexpr int32_t kDim = 64;
  constexpr int32_t kTokens = 512;
  std::vector<uint16_t> cache(kTokens * kDim, 0x3555);
  std::vector<int32_t> table;
  for (int32_t i = 0; i < kTokens / 64; ++i) table.push_back(i);
  const auto* pages = reinterpret_cast<const uint8_t*>(cache.data());
  for (const int32_t rows : {1, 32}) {
    Rows q(rows, kGroup * kDim);
    std::vector<float> out(q.values.size());
    std::vector<float> scratch(
        static_cast<size_t>(cpu::AttentionScratchFloats(rows * kGroup, kDim)));
    Report(kernels,
           fmt::format("attention {} heads of {} rows {} context {}", kGroup, kDim, rows, kTokens),
           2.0 * rows * kGroup * kDim * kTokens, [&] {
             kernels.attention({.q = q.values.data(),
                                .q_stride = kGroup * kDim,
                                .out = out.data(),
                                .out_stride = kGroup * kDim,
                                .rows = rows,
                                .first_position = kTokens - rows,
                                .group = kGroup,
                                .head_dim = kDim,
                                .v_dim = kDim,
                                .scale = 0.125f,
                                .softcap = 0,
                                .window = 0,
                                .kv = KvElement::kHalf,
                                .k_cache = pages,
                                .v_cache = pages,
                                .k_scales = nullptr,
                                .v_scales = nullptr,
                                .k_page_stride = 2 * 64 * kDim,
                                .v_page_stride = 2 * 64 * kDim,
                                .block_table = table.data(),
                                .block_tokens = 64,
                                .scratch = scratch.data()});
           });
  }
}

void RowKernels(const cpu::Kernels& kernels) {
  Rows x(1, 1536);
  std::vector<float> out(1536);
  Report(kernels, "quantize 1536", 0, [&] { kernels.quantize(x.values.data(), 1536, x.view); });
  Report(kernels, "swiglu 1536", 0, [&] {
    kernels.activate(Activation::kSilu, x.values.data(), x.values.data(), 1536, out.data());
  });
  Report(kernels, "rms_norm 1536", 0,
         [&] { kernels.rms_norm(x.values.data(), x.values.data(), 1536, 1e-5f, out.data()); });
}

// How long a loop takes in which every member of the team takes part and does nothing else: each
// task waits for the others to have begun. 1,000 loops at a time.
void ForkJoins() {
  const int most = std::max(2, AvailableCpus());
  for (int threads = 2; threads <= most; threads *= 2) {
    const std::string name = fmt::format("fork-join {} threads", threads);
    if (name.find(filter) == std::string::npos) continue;
    ThreadTeam team({.threads = threads});
    std::atomic<int64_t> begun{0};
    int64_t loops = 0;
    const double seconds = BestSeconds([&] {
      for (int i = 0; i < 1000; ++i) {
        const int64_t all = ++loops * threads;
        team.ParallelFor(threads, [&](int64_t, int) {
          begun.fetch_add(1);
          while (begun.load() < all) {
          }
        });
      }
    });
    std::printf("%-7s %-40s %10.2f us\n", "", name.c_str(), seconds * 1e3);
  }
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  std::string isa = "auto";
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    if (arg.substr(0, 4) == "isa=") {
      isa = std::string(arg.substr(4));
    } else {
      weft::filter = std::string(arg);
    }
  }
  std::vector<weft::Isa> isas = weft::AvailableIsas();
  if (isa != "all") {
    const absl::StatusOr<weft::Isa> one = weft::ResolveIsa(isa);
    if (!one.ok()) {
      std::fprintf(stderr, "%s\n", weft::ToString(one.status()).c_str());
      return 2;
    }
    isas = {*one};
  }
  weft::ForkJoins();
  for (const weft::Isa level : isas) {
    const weft::cpu::Kernels& kernels = weft::cpu::GetKernels(level);
    weft::Matmuls(kernels);
    weft::Attentions(kernels);
    weft::RowKernels(kernels);
  }
  return 0;
}
