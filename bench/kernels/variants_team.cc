// The thread team and ops on it: spinning or parked, one loop for several products or one each.
#include <array>
#include <atomic>

#include "bench/kernels/variants.h"
#include "libs/device/thread_team.h"
#include "libs/ops/op_table.h"

namespace weft::bench {
namespace {

constexpr int kLoops = 200;

// Loops in which every member takes part: each task waits for the others to have begun.
std::function<void()> Loops(const std::shared_ptr<ThreadTeam>& team) {
  const auto begun = std::make_shared<std::atomic<int64_t>>(0);
  const auto loops = std::make_shared<int64_t>(0);
  return [team, begun, loops] {
    const int threads = team->threads();
    for (int i = 0; i < kLoops; ++i) {
      const int64_t all = ++*loops * threads;
      team->ParallelFor(threads, [&](int64_t, int) {
        begun->fetch_add(1);
        while (begun->load() < all) {
        }
      });
    }
  };
}

// A feed-forward network's inner half with the shapes of SmolLM2-135M.
struct Inner {
  explicit Inner(int64_t rows)
      : gate(DType::kQ4_1, 1536, 576, rows),
        up(DType::kQ4_1, 1536, 576, rows),
        gated(DType::kQ4_1, 16, 1536, rows),
        team({.threads = 2}) {
    context.team = &team;
    context.kernels = &cpu::GetKernels(AvailableIsas().back());
    context.scratch.resize(2);
    input = {up.values.data(), 576, up.x};
    out = {gated.values.data(), 1536, gated.x};
  }
  void Together() {
    CpuOps().gated_linear({.input = input,
                           .rows = up.rows,
                           .gate = {&gate.weight},
                           .up = {&up.weight},
                           .out = {nullptr, out.width, out.quantized}},
                          context);
  }
  void Apart(bool one_loop) {
    const std::array<LinearArgs::Output, 2> both = {
        {{&up.weight, up.out.data()}, {&gate.weight, gate.out.data()}}};
    if (one_loop) {
      CpuOps().linear({input, up.rows, both}, context);
    } else {
      for (const LinearArgs::Output& one : both)
        CpuOps().linear({input, up.rows, {&one, 1}}, context);
    }
    CpuOps().activate({Activation::kSilu, gate.out.data(), up.out.data(), up.rows, out}, context);
  }

  Operands gate, up, gated;
  ThreadTeam team;
  OpContext context;
  Activations input, out;
};

}  // namespace

std::vector<Variant> TeamVariants() {
  if (AvailableCpus() < 2) return {};
  std::vector<Variant> out;
  const auto team = [&](const std::string& name, bool used, int spin_us) {
    const auto members = std::make_shared<ThreadTeam>(ThreadTeam::Options{2, spin_us});
    out.push_back({"fork-join of two threads", name, used, "us", kLoops, Loops(members)});
  };
  team("spinning 100 us, then parked", true, 100);
  team("parked at once", false, 0);
  for (const int64_t rows : {1, 16, 512}) {
    const auto inner = std::make_shared<Inner>(rows);
    const std::string group =
        "gate, up, SwiGLU and quantising, Q4_1, two threads, rows " + std::to_string(rows);
    const double work = 1e-9 * static_cast<double>(rows) * 2 * 1536 * 576;
    out.push_back(
        {group, "one loop for all", true, "GMAC/s", work, [inner] { inner->Together(); }});
    out.push_back({group, "one loop for the products, one for the rest", false, "GMAC/s", work,
                   [inner] { inner->Apart(true); }});
    out.push_back({group, "a loop for each product, one for the rest", false, "GMAC/s", work,
                   [inner] { inner->Apart(false); }});
  }
  return out;
}

}  // namespace weft::bench
