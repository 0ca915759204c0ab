// Each group of variants by turns; the best run of each counts. Prints JSON: per variant its rate
// and the ratio to the one in use.
//
//   kernel_variants [seconds=N] [filter]
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <string_view>

#include "bench/kernels/variants.h"
#include "libs/base/status.h"
#include "libs/device/cpu_features.h"
#include "libs/device/thread_team.h"

namespace weft::bench {

Operands::Operands(DType type, int64_t outputs, int64_t cols, int64_t rows)
    : raw(*BytesFor(type, outputs * cols), 17),
      rows(rows),
      values(static_cast<size_t>(rows * cols)),
      out(static_cast<size_t>(rows * outputs)),
      scale(values.size() / 32),
      scaled_sum(values.size() / 32),
      q(values.size()),
      minus128sum(values.size() / 16) {
  ThreadTeam team({.threads = 1});
  weight.type = type;
  weight.rows = outputs;
  weight.cols = cols;
  weight.raw = raw.data();
  weight = Repack(weight, "bench", team, arena).value();
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (float& value : values) value = normal(random);
  x = {q.data(), scale.data(), scaled_sum.data(), minus128sum.data(), rows};
  for (int64_t r = 0; r < rows; ++r) {
    cpu::GetKernels(Isa::kScalar).quantize(values.data() + r * cols, cols, x.from(r));
  }
}

std::shared_ptr<Operands> FromMemory(DType type) {
  static std::map<DType, std::weak_ptr<Operands>> made;
  std::shared_ptr<Operands> operands = made[type].lock();
  if (operands == nullptr) {
    made[type] = operands = std::make_shared<Operands>(type, 65536, 4096, 19);
    operands->raw = {};
  }
  return operands;
}

AttentionOperands::AttentionOperands()
    : cache(512 * 64, 0x3555),
      table{0, 1, 2, 3, 4, 5, 6, 7},
      q(32 * 3 * 64, 0.5f),
      out(q.size()),
      scratch(static_cast<size_t>(cpu::AttentionScratchFloats(96, 64))) {}

cpu::AttentionArgs AttentionOperands::Args() {
  const auto* pages = reinterpret_cast<const uint8_t*>(cache.data());
  return {.q = q.data(),
          .q_stride = 3 * 64,
          .out = out.data(),
          .out_stride = 3 * 64,
          .rows = 32,
          .first_position = 480,
          .group = 3,
          .head_dim = 64,
          .v_dim = 64,
          .scale = 0.125f,
          .softcap = 0,
          .window = 0,
          .kv = KvElement::kHalf,
          .k_cache = pages,
          .v_cache = pages,
          .k_scales = nullptr,
          .v_scales = nullptr,
          .k_page_stride = 2 * 64 * 64,
          .v_page_stride = 2 * 64 * 64,
          .block_table = table.data(),
          .block_tokens = 64,
          .scratch = scratch.data()};
}

cpu::MatmulArgs Operands::Args() {
  return {.layout = weight.layout,
          .weights = weight.packed,
          .cols = weight.cols,
          .groups = weight.groups(),
          .outputs = weight.rows,
          .x = x,
          .x_float = values.data(),
          .rows = rows,
          .out = out.data(),
          .out_stride = weight.rows};
}

cpu::MatmulArgs Operands::First(int64_t some) {
  cpu::MatmulArgs args = Args();
  args.rows = some;
  return args;
}

namespace {

using Clock = std::chrono::steady_clock;

double Seconds(const std::function<void()>& run) {
  const auto begin = Clock::now();
  run();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// The rates of variants [first, last) of one group.
std::vector<double> Measure(const std::vector<Variant>& all, size_t first, size_t last,
                            double seconds) {
  std::vector<double> best(last - first, 1e9);
  const auto until = Clock::now() + std::chrono::duration<double>(seconds);
  for (int i = 0; i < 5 || Clock::now() < until; ++i) {
    for (size_t v = first; v < last; ++v) {
      // A short run follows itself once, so that it finds its own data in the caches.
      double taken = Seconds(all[v].run);
      if (taken < 0.01) taken = std::min(taken, Seconds(all[v].run));
      best[v - first] = std::min(best[v - first], taken);
    }
  }
  for (size_t v = first; v < last; ++v) {
    double& value = best[v - first];
    value = all[v].unit == "us" ? value * 1e6 / all[v].amount : all[v].amount / value;
  }
  return best;
}

int Run(double seconds, std::string_view filter) {
  std::vector<Variant> all = TeamVariants();
  const auto add = [&](Isa isa, std::vector<Variant> (*variants)()) {
    const std::vector<Isa>& have = AvailableIsas();
    if (std::find(have.begin(), have.end(), isa) == have.end()) return;
    for (Variant& variant : variants()) all.push_back(std::move(variant));
  };
  add(Isa::kAvx2, Avx2Variants);
  add(Isa::kAvx512, Avx512Variants);
  add(Isa::kAmx, AmxVariants);
  std::string json;
  for (size_t first = 0; first < all.size();) {
    size_t last = first;
    while (last < all.size() && all[last].group == all[first].group) ++last;
    if (all[first].group.find(filter) != std::string::npos) {
      const std::vector<double> rates = Measure(all, first, last, seconds);
      for (size_t v = first; v < last; ++v) {
        // The one in use comes first. Above 1: better than it.
        const double ratio =
            all[v].unit == "us" ? rates[0] / rates[v - first] : rates[v - first] / rates[0];
        json += fmt::format(
            "{}{{\"group\":\"{}\",\"name\":\"{}\",\"used\":{},\"unit\":\"{}\",\"value\":{:.2f},"
            "\"ratio\":{:.3f}}}",
            json.empty() ? "" : ",\n ", all[v].group, all[v].name, all[v].used, all[v].unit,
            rates[v - first], ratio);
      }
    }
    first = last;
  }
  std::printf("[%s]\n", json.c_str());
  return 0;
}

}  // namespace
}  // namespace weft::bench

int main(int argc, char** argv) {
  double seconds = 1;
  std::string_view filter;
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    if (arg.substr(0, 8) == "seconds=") {
      seconds = std::atof(argv[i] + 8);
    } else {
      filter = arg;
    }
  }
  return weft::bench::Run(seconds, filter);
}
