// wgmma: asynchronous products of a 64-row tile by four warps. Each thread's part runs when that
// thread waits for it; until then its accumulators hold no numbers.
#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <deque>
#include <limits>

#include "libs/device/number_types.h"
#include "libs/device/simt/async.h"
#include "libs/device/simt/ptx_wgmma.h"

namespace weft::simt {
namespace {

constexpr uint32_t kRows = 64;
constexpr uint32_t kTileBytes = 32;  // of K: 16 or 32 elements

// One wgmma of a warpgroup; the four warps share what it reads.
struct Operation {
  WgmmaCall call;
  Site site;
  uint32_t clock = 0;
  uint32_t checked_warps = 0;
  bool decoded = false;
  std::vector<float> a;  // [64, K]
  std::vector<float> b;  // [n, K]
  uint32_t finished = 0;
};

struct Warpgroup {
  std::deque<std::shared_ptr<Operation>> operations;
  uint64_t first = 0;  // number of operations.front()
  uint32_t agent = 0;
};

// A thread's accumulators while products into them are in flight.
struct Accumulators {
  void* d = nullptr;
  uint32_t pending = 0;
  std::vector<float> f;
  std::vector<int32_t> i;
};

struct Started {
  std::shared_ptr<Operation> operation;
  AsyncOperation order;
  void* d = nullptr;
  bool accumulate = false;
  bool from_registers = false;
  std::vector<float> rows;  // rows g and g + 8 of A, [2, K], if A is in registers
};

struct ThreadWgmma {
  uint64_t issued = 0;
  bool fenced = false;
  std::vector<Started> open;
  std::deque<std::vector<Started>> groups;
  std::vector<Accumulators> accumulators;
};

// Beside async.cc's state: by thread and by warpgroup of a block.
struct BlockWgmma {
  std::vector<ThreadWgmma> threads;
  std::vector<Warpgroup> groups;
};

// By the block's number.
std::map<uint32_t, BlockWgmma>& AllStates() {
  static thread_local std::map<uint32_t, BlockWgmma> states;
  return states;
}

BlockWgmma& StateOf(Block& block) {
  auto [state, is_new] = AllStates().try_emplace(block.number);
  if (is_new) {
    state->second.threads.resize(block.threads.size());
    state->second.groups.resize((block.threads.size() + 127) / 128);
    for (Warpgroup& group : state->second.groups) group.agent = AsyncOf(block).NewAgent();
    block.at_end.push_back([&block] { AllStates().erase(block.number); });
  }
  return state->second;
}

bool IsWide(WgmmaType type) { return type == WgmmaType::kBf16 || type == WgmmaType::kHalf; }
uint32_t Depth(WgmmaType type) { return IsWide(type) ? 16 : 32; }

float Decode(WgmmaType type, const unsigned char* at) {
  uint16_t wide = 0;
  switch (type) {
    case WgmmaType::kBf16:
      std::memcpy(&wide, at, 2);
      return gpu::ToFloat(gpu::Bf16{wide});
    case WgmmaType::kHalf:
      std::memcpy(&wide, at, 2);
      return gpu::ToFloat(gpu::Half{wide});
    case WgmmaType::kE4m3:
      return gpu::ToFloat(gpu::E4m3{*at});
    case WgmmaType::kS8:
      return static_cast<float>(static_cast<int8_t>(*at));
  }
  return 0;
}

struct Tile {
  uint32_t start;
  uint32_t leading;
  uint32_t stride;
  gpu::Swizzle swizzle;

  explicit Tile(uint64_t descriptor)
      : start(static_cast<uint32_t>(descriptor & 0x3fff) << 4),
        leading(static_cast<uint32_t>(descriptor >> 16 & 0x3fff) << 4),
        stride(static_cast<uint32_t>(descriptor >> 32 & 0x3fff) << 4),
        swizzle(static_cast<gpu::Swizzle>(descriptor >> 62)) {}

  // 16-byte chunks in one line of the swizzle's pattern.
  uint32_t Width() const {
    switch (swizzle) {
      case gpu::Swizzle::k128:
        return 8;
      case gpu::Swizzle::k64:
        return 4;
      case gpu::Swizzle::k32:
        return 2;
      case gpu::Swizzle::kNone:
        return 1;
    }
    return 1;
  }
  // K-major: where bytes 16 * chunk and up of row `row` lie.
  uint32_t KMajor(uint32_t row, uint32_t chunk) const {
    const uint32_t next = swizzle == gpu::Swizzle::kNone ? leading : 16;
    return gpu::SwizzleOffset(swizzle,
                              start + row % 8 * Width() * 16 + row / 8 * stride + chunk * next);
  }
  // M- or N-major, 16-bit elements: where rows 8 * chunk and up at depth k lie.
  uint32_t RowMajor(uint32_t chunk, uint32_t k) const {
    const uint32_t w = Width();
    const bool plain = swizzle == gpu::Swizzle::kNone;
    const uint32_t across = plain ? chunk * stride : chunk % w * 16 + chunk / w * leading;
    return gpu::SwizzleOffset(swizzle,
                              start + across + k % 8 * w * 16 + k / 8 * (plain ? leading : stride));
  }
};

// Reads `rows` rows of K from a tile, in checked chunks of 16 bytes. `out` null: only checks.
void ReadTile(uint64_t descriptor, WgmmaType type, bool trans, uint32_t rows, const Actor& actor,
              Site site, std::vector<float>* out) {
  Region* region = actor.thread->block->dynamic_shared.get();
  const Tile tile(descriptor);
  const uint32_t depth = Depth(type);
  const uint32_t element = kTileBytes / depth;
  if (out != nullptr) out->assign(static_cast<size_t>(rows) * depth, std::nanf(""));
  const uint32_t lines = trans ? rows / 8 : rows;
  const uint32_t chunks = trans ? depth : 2;
  for (uint32_t line = 0; line < lines; ++line) {
    for (uint32_t c = 0; c < chunks; ++c) {
      const uint32_t at = trans ? tile.RowMajor(line, c) : tile.KMajor(line, c);
      if (!region->Check(region->base() + at, 16, 16, Access::kRead, actor, site) ||
          out == nullptr) {
        continue;
      }
      for (uint32_t i = 0; i < 16 / element; ++i) {
        const float value = Decode(type, region->data() + at + i * element);
        const size_t row = trans ? line * 8 + i : line;
        const size_t k = trans ? c : c * (16 / element) + i;
        (*out)[row * depth + k] = value;
      }
    }
  }
}

Accumulators& Find(ThreadWgmma& own, const WgmmaCall& call) {
  for (Accumulators& a : own.accumulators) {
    if (a.d == call.d) return a;
  }
  Accumulators a;
  a.d = call.d;
  const auto count = static_cast<size_t>(call.n / 2);
  if (call.type == WgmmaType::kS8) {
    a.i.resize(count);
    std::memcpy(a.i.data(), call.d, count * 4);
    for (size_t i = 0; i < count; ++i) static_cast<int32_t*>(call.d)[i] = INT32_MIN;
  } else {
    a.f.resize(count);
    std::memcpy(a.f.data(), call.d, count * 4);
    for (size_t i = 0; i < count; ++i) {
      static_cast<float*>(call.d)[i] = std::numeric_limits<float>::quiet_NaN();
    }
  }
  own.accumulators.push_back(std::move(a));
  return own.accumulators.back();
}

void Perform(Thread& thread, ThreadWgmma& own, Started& started) {
  Operation& op = *started.operation;
  const uint32_t depth = Depth(op.call.type);
  const uint32_t warp = thread.id / 32 % 4;
  Actor actor = started.order.actor;
  actor.seen = started.order.seen.get();
  if ((op.checked_warps >> warp & 1) == 0) {
    op.checked_warps |= 1u << warp;
    const bool decode = !op.decoded;
    op.decoded = true;
    if (!started.from_registers) {
      ReadTile(op.call.descriptor_a, op.call.type, op.call.trans_a, kRows, actor, op.site,
               decode ? &op.a : nullptr);
    }
    ReadTile(op.call.descriptor_b, op.call.type, op.call.trans_b, static_cast<uint32_t>(op.call.n),
             actor, op.site, decode ? &op.b : nullptr);
  }
  const uint32_t g = thread.lane / 4;
  const uint32_t t = thread.lane % 4;
  const float* rows[2];
  for (uint32_t half = 0; half < 2; ++half) {
    rows[half] = started.from_registers ? started.rows.data() + half * depth
                                        : op.a.data() + (warp * 16 + g + 8 * half) * depth;
  }
  Accumulators* acc = nullptr;
  for (Accumulators& a : own.accumulators) {
    if (a.d == started.d) acc = &a;
  }
  for (uint32_t i = 0; i < static_cast<uint32_t>(op.call.n / 2); ++i) {
    const float* x = rows[i / 2 % 2];
    const float* y = op.b.data() + (i / 4 * 8 + 2 * t + i % 2) * depth;
    double sum = 0;  // exact for s8
    for (uint32_t k = 0; k < depth; ++k) sum += static_cast<double>(x[k]) * y[k];
    if (op.call.type == WgmmaType::kS8) {
      const auto before = started.accumulate ? static_cast<uint32_t>(acc->i[i]) : 0u;
      // Not a number: the tile could not be read, which was reported.
      const int64_t product = std::isfinite(sum) ? static_cast<int64_t>(sum) : 0;
      acc->i[i] = static_cast<int32_t>(before + static_cast<uint32_t>(product));
    } else {
      acc->f[i] = static_cast<float>((started.accumulate ? acc->f[i] : 0.0) + sum);
    }
  }
  if (--acc->pending == 0) {
    if (op.call.type == WgmmaType::kS8) {
      std::memcpy(acc->d, acc->i.data(), acc->i.size() * 4);
    } else {
      std::memcpy(acc->d, acc->f.data(), acc->f.size() * 4);
    }
    own.accumulators.erase(own.accumulators.begin() + (acc - own.accumulators.data()));
  }
  ++op.finished;
}

}  // namespace

uint64_t DescribeTile(const unsigned char* address, const Region* region, uint32_t leading_bytes,
                      uint32_t stride_bytes, gpu::Swizzle swizzle, Site site) {
  Thread& thread = Current();
  if (region == nullptr || region != thread.block->dynamic_shared.get()) {
    CurrentGrid().Report(DefectKind::kBadArgument, &thread, site, [] {
      return std::string("a wgmma tile outside dynamic shared memory (emulator)");
    });
    return 0;
  }
  const uint64_t at = static_cast<uint64_t>(address - region->data());
  if (at % 16 != 0 || leading_bytes % 16 != 0 || stride_bytes % 16 != 0) {
    CurrentGrid().Report(DefectKind::kMisaligned, &thread, site, [] {
      return std::string("a wgmma tile's address and offsets are multiples of 16");
    });
  }
  return (at >> 4 & 0x3fff) | static_cast<uint64_t>(leading_bytes >> 4 & 0x3fff) << 16 |
         static_cast<uint64_t>(stride_bytes >> 4 & 0x3fff) << 32 |
         static_cast<uint64_t>(swizzle) << 62;
}

void StartWgmma(const WgmmaCall& call, Site site) {
  Thread& thread = Current();
  thread.site = site;
  Block& block = *thread.block;
  Grid& grid = block.grid;
  BlockWgmma& state = StateOf(block);
  ThreadWgmma& own = state.threads[thread.id];
  Warpgroup& group = state.groups[thread.id / 128];
  if (block.threads.size() % 128 != 0 || block.dynamic_shared == nullptr ||
      ((call.trans_a || call.trans_b) && !IsWide(call.type))) {
    grid.Report(DefectKind::kBadArgument, &thread, site, [] {
      return std::string(
          "wgmma needs whole warpgroups and tiles in dynamic shared memory; only "
          "16-bit tiles can be transposed");
    });
    return;
  }
  if (!own.fenced) {
    grid.Report(DefectKind::kBadArgument, &thread, site, [] {
      return std::string("wgmma without a WgmmaFence() since the start or the last wait");
    });
  }
  struct Operand {
    uint32_t a[4];
    uint64_t descriptors[2];
  } operand{};
  if (call.a_registers != nullptr) std::memcpy(operand.a, call.a_registers, sizeof(operand.a));
  operand.descriptors[0] = call.descriptor_a;
  operand.descriptors[1] = call.descriptor_b;
  const WarpOperation together(~0u, "wgmma", Instruction::kCount, &operand, sizeof(operand), site);
  // One count a warpgroup.
  const uint64_t number = own.issued++;
  while (group.first + group.operations.size() <= number) {
    auto fresh = std::make_shared<Operation>();
    fresh->call = call;
    fresh->site = site;
    fresh->clock = static_cast<uint32_t>(group.first + group.operations.size() + 1);
    group.operations.push_back(std::move(fresh));
    grid.Count(Instruction::kWgmma);
  }
  Started started;
  started.operation = group.operations[number - group.first];
  const WgmmaCall& agreed = started.operation->call;
  if (agreed.descriptor_a != call.descriptor_a || agreed.descriptor_b != call.descriptor_b ||
      agreed.n != call.n || agreed.type != call.type) {
    grid.Report(DefectKind::kWarpMismatch, &thread, site, [] {
      return std::string("the threads of a warpgroup give wgmma different operands");
    });
  }
  started.d = call.d;
  started.accumulate = call.accumulate;
  started.from_registers = call.a_registers != nullptr;
  started.order =
      Begin(thread, block.AgentComponent(group.agent), started.operation->clock, true, nullptr);
  if (started.from_registers) {
    const uint32_t depth = Depth(call.type);
    const uint32_t element = kTileBytes / depth;
    started.rows.resize(2 * static_cast<size_t>(depth));
    for (uint32_t part = 0; part < 4; ++part) {
      const Operand lane = together.From<Operand>(thread.lane / 4 * 4 + part);
      for (uint32_t r = 0; r < 4; ++r) {
        unsigned char bytes[4];
        std::memcpy(bytes, &lane.a[r], 4);
        for (uint32_t i = 0; i < 4 / element; ++i) {
          const uint32_t k = r / 2 * (depth / 2) + part * (4 / element) + i;
          started.rows[r % 2 * depth + k] = Decode(call.type, bytes + i * element);
        }
      }
    }
  }
  ++Find(own, call).pending;
  own.open.push_back(std::move(started));
  while (!group.operations.empty() && group.operations.front()->finished == 128) {
    group.operations.pop_front();
    ++group.first;
  }
}

void FenceWgmma() { StateOf(*Current().block).threads[Current().id].fenced = true; }

void CommitWgmma() {
  ThreadWgmma& own = StateOf(*Current().block).threads[Current().id];
  own.groups.push_back(std::move(own.open));
  own.open.clear();
}

void WaitWgmma(size_t left) {
  Thread& thread = Current();
  Block& block = *thread.block;
  BlockWgmma& state = StateOf(block);
  ThreadWgmma& own = state.threads[thread.id];
  own.fenced = false;
  Clock done;
  done.block = block.number;
  while (own.groups.size() > left) {
    for (Started& started : own.groups.front()) {
      Perform(thread, own, started);
      done.Raise(block.AgentComponent(state.groups[thread.id / 128].agent),
                 started.operation->clock);
    }
    own.groups.pop_front();
  }
  if (!done.at.empty()) Acquire(thread, done);
}

}  // namespace weft::simt
