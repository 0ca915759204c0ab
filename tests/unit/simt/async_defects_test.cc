// Broken asynchronous kernels: a copy or a product that nobody waits for, a stage that is reused
// too early, a missing proxy fence. Each with its repaired twin.
#include <cmath>
#include <vector>

#include "tests/unit/simt/run.h"

namespace weft::gpu {
namespace {

using simt::DefectKind;

struct WordParams {
  GlobalPtr<const uint32_t> in;
  GlobalPtr<uint32_t> out;
};

struct Words {
  explicit Words(size_t n) : in(Make(n), "in"), out(n, "out") {}
  static std::vector<uint32_t> Make(size_t n) {
    std::vector<uint32_t> v(n);
    for (size_t i = 0; i < n; ++i) v[i] = static_cast<uint32_t>(i * 7 + 1);
    return v;
  }
  WordParams Params() const { return {in.data(), out.data()}; }
  simt::Buffer<uint32_t> in;
  simt::Buffer<uint32_t> out;
};

template <bool kWait, bool kBarrier>
WEFT_KERNEL(64)
void CopiesATile(const WEFT_PARAMS WordParams p) {
  WEFT_DYNAMIC_SHARED(uint32_t, tile);
  CopyAsync<4>(tile + threadIdx.x, p.in + threadIdx.x);
  CopyAsyncCommit();
  if constexpr (kWait) CopyAsyncWait<0>();
  if constexpr (kBarrier) __syncthreads();
  p.out[threadIdx.x] = tile[63 - threadIdx.x];
}

// Two stages; the copy into a stage must come after the barrier that ends its last use.
template <bool kSecondBarrier>
WEFT_KERNEL(64)
void CopiesInTwoStages(const WEFT_PARAMS WordParams p) {
  WEFT_DYNAMIC_SHARED(uint32_t, tile);
  const uint32_t i = threadIdx.x;
  CopyAsync<4>(tile + i, p.in + i);
  CopyAsyncCommit();
  uint32_t sum = 0;
  for (uint32_t step = 0; step < 4; ++step) {
    if (step + 1 < 4) CopyAsync<4>(tile + 64 * ((step + 1) % 2) + i, p.in + 64 * (step + 1) + i);
    CopyAsyncCommit();
    CopyAsyncWait<1>();
    __syncthreads();
    sum += tile[64 * (step % 2) + (63 - i)];
    if constexpr (kSecondBarrier) __syncthreads();
  }
  p.out[i] = sum;
}

}  // namespace

TEST_CASE("cp.async: a missing wait and a missing barrier are found", "[simt]") {
  const Words w(256);
  CHECK(FindsNothing(RunKernel(CopiesATile<true, true>, {1, 64, 256}, w.Params())));
  CHECK(w.out.Download()[0] == 63 * 7 + 1);
  CHECK(RunKernel(CopiesATile<true, false>, {1, 64, 256}, w.Params()).Has(DefectKind::kRace));
  const simt::LaunchReport& no_wait = RunKernel(CopiesATile<false, true>, {1, 64, 256}, w.Params());
  INFO(no_wait.Text());
  CHECK(no_wait.Has(DefectKind::kUninitialised));
  CHECK(no_wait.Has(DefectKind::kRace));
  CHECK(FindsNothing(RunKernel(CopiesInTwoStages<true>, {1, 64, 512}, w.Params())));
  CHECK(RunKernel(CopiesInTwoStages<false>, {1, 64, 512}, w.Params()).Has(DefectKind::kRace));
}

// --- mbarrier and bulk copies
// ---------------------------------------------------------------------

namespace {

template <bool kWait>
WEFT_KERNEL(32)
void LoadsInBulk(const WEFT_PARAMS WordParams p) {
  WEFT_DYNAMIC_SHARED(uint32_t, tile);
  WEFT_SHARED(uint64_t, barrier, 1);
  if (threadIdx.x == 0) MbarrierInit(barrier, 1);
  __syncthreads();
  if (threadIdx.x == 0) {
    MbarrierArriveExpect(barrier, 128);
    BulkLoad(tile, p.in, 128, barrier);
  }
  if constexpr (kWait) MbarrierWait(barrier, 0);
  p.out[threadIdx.x] = tile[31 - threadIdx.x];
}
WEFT_KERNEL(32) void ExpectsTooManyBytes(const WEFT_PARAMS WordParams p) {
  WEFT_DYNAMIC_SHARED(uint32_t, tile);
  WEFT_SHARED(uint64_t, barrier, 1);
  if (threadIdx.x == 0) {
    MbarrierInit(barrier, 1);
    MbarrierArriveExpect(barrier, 256);
    BulkLoad(tile, p.in, 128, barrier);
  }
  __syncthreads();
  MbarrierWait(barrier, 0);
  p.out[threadIdx.x] = tile[threadIdx.x];
}
WEFT_KERNEL(32) void ArrivesTooOften(const WEFT_PARAMS WordParams p) {
  WEFT_SHARED(uint64_t, barrier, 1);
  if (threadIdx.x == 0) {
    MbarrierInit(barrier, 2);
    MbarrierArriveExpect(barrier, 16);
    MbarrierArrive(barrier);
    MbarrierArrive(barrier);
  }
  p.out[threadIdx.x] = 0;
}
WEFT_KERNEL(32) void UsesABarrierThatIsNone(const WEFT_PARAMS WordParams p) {
  WEFT_DYNAMIC_SHARED(uint64_t, barrier);
  if (threadIdx.x == 0) {
    barrier[0] = 1;
    MbarrierArrive(barrier);
  }
  p.out[threadIdx.x] = 0;
}
// A producer warp fills two stages, a consumer warp empties them.
template <bool kWaitsForEmpty>
WEFT_KERNEL(64)
void StreamsInStages(const WEFT_PARAMS WordParams p) {
  WEFT_DYNAMIC_SHARED(uint32_t, tile);
  WEFT_SHARED(uint64_t, full, 2);
  WEFT_SHARED(uint64_t, empty, 2);
  if (threadIdx.x == 0) {
    for (int i = 0; i < 2; ++i) {
      MbarrierInit(full + i, 1);
      MbarrierInit(empty + i, 32);
    }
    FenceMbarrierInit();
  }
  __syncthreads();
  if (threadIdx.x == 32) {
    for (uint32_t step = 0; step < 8; ++step) {
      const uint32_t stage = step % 2;
      // Both stages are empty at first: a wait for the phase before the first is over at once.
      if constexpr (kWaitsForEmpty) MbarrierWait(empty + stage, (step / 2 + 1) % 2);
      MbarrierArriveExpect(full + stage, 128);
      BulkLoad(tile + 32 * stage, p.in + 32 * step, 128, full + stage);
      if constexpr (!kWaitsForEmpty) MbarrierWait(full + stage, step / 2 % 2);
    }
  } else if (threadIdx.x < 32) {
    uint32_t sum = 0;
    for (uint32_t step = 0; step < 8; ++step) {
      const uint32_t stage = step % 2;
      MbarrierWait(full + stage, step / 2 % 2);
      sum += tile[32 * stage + (31 - threadIdx.x)];
      MbarrierArrive(empty + stage);
    }
    p.out[threadIdx.x] = sum;
  }
}

}  // namespace

TEST_CASE("Bulk loads: what nobody waits for, wrong byte counts and misused barriers are found",
          "[simt]") {
  const Words w(256);
  CHECK(FindsNothing(RunKernel(LoadsInBulk<true>, {1, 32, 128}, w.Params())));
  CHECK(w.out.Download()[0] == 31 * 7 + 1);
  const simt::LaunchReport& no_wait = RunKernel(LoadsInBulk<false>, {1, 32, 128}, w.Params());
  CHECK(no_wait.Has(DefectKind::kUninitialised));
  CHECK(no_wait.Has(DefectKind::kUnfinishedCopy));
  CHECK(OnlyFinds(RunKernel(ExpectsTooManyBytes, {1, 32, 128}, w.Params()), DefectKind::kDeadlock));
  CHECK(OnlyFinds(RunKernel(ArrivesTooOften, {1, 32}, w.Params()), DefectKind::kBadArgument));
  CHECK(OnlyFinds(RunKernel(UsesABarrierThatIsNone, {1, 32, 8}, w.Params()),
                  DefectKind::kBadArgument));
}

TEST_CASE("A stage that is filled again before it was emptied is a race", "[simt]") {
  for (const uint32_t seed : {0u, 5u}) {
    simt::LaunchOptions().seed = seed;
    const Words w(256);
    CHECK(FindsNothing(RunKernel(StreamsInStages<true>, {1, 64, 256}, w.Params())));
    uint32_t want = 0;
    for (uint32_t step = 0; step < 8; ++step) want += (32 * step + 31) * 7 + 1;
    CHECK(w.out.Download()[0] == want);
    const simt::LaunchReport& early = RunKernel(StreamsInStages<false>, {1, 64, 256}, w.Params());
    INFO(early.Text());
    CHECK((early.Has(DefectKind::kRace) || early.Has(DefectKind::kDeadlock)));
  }
  simt::LaunchOptions() = {};
}

namespace {

enum class Omit { kNothing, kFence, kWaitRead };

template <Omit kOmit>
WEFT_KERNEL(32)
void StoresInBulk(const WEFT_PARAMS WordParams p) {
  WEFT_DYNAMIC_SHARED(uint32_t, tile);
  for (uint32_t step = 0; step < 2; ++step) {
    tile[threadIdx.x] = p.in[32 * step + threadIdx.x];
    if constexpr (kOmit != Omit::kFence) FenceProxyAsync();
    __syncthreads();
    if (threadIdx.x == 0) {
      BulkStore(p.out + 32 * step, tile, 128);
      BulkCommit();
      if constexpr (kOmit != Omit::kWaitRead) BulkWaitRead<0>();
    }
    __syncthreads();
  }
  if (threadIdx.x == 0) BulkWait<0>();
}
WEFT_KERNEL(32) void ReturnsBeforeItsStore(const WEFT_PARAMS WordParams p) {
  WEFT_DYNAMIC_SHARED(uint32_t, tile);
  tile[threadIdx.x] = p.in[threadIdx.x];
  FenceProxyAsync();
  __syncthreads();
  if (threadIdx.x == 0) {
    BulkStore(p.out, tile, 128);
    BulkCommit();
  }
}

}  // namespace

TEST_CASE("Bulk stores: missing proxy fences, waits and ends are found", "[simt]") {
  const Words w(64);
  CHECK(FindsNothing(RunKernel(StoresInBulk<Omit::kNothing>, {1, 32, 128}, w.Params())));
  CHECK(w.out.Download() == w.in.Download());
  CHECK(OnlyFinds(RunKernel(StoresInBulk<Omit::kFence>, {1, 32, 128}, w.Params()),
                  DefectKind::kMissingProxyFence));
  CHECK(RunKernel(StoresInBulk<Omit::kWaitRead>, {1, 32, 128}, w.Params()).Has(DefectKind::kRace));
  CHECK(OnlyFinds(RunKernel(ReturnsBeforeItsStore, {1, 32, 128}, w.Params()),
                  DefectKind::kUnfinishedCopy));
}

// --- wgmma
// ----------------------------------------------------------------------------------------

namespace {

enum class Wgmma { kRight, kNoFence, kNoProxyFence, kReadsEarly, kOverwrites, kNoBarrier };

// Ones times ones from tiles that the threads write: every sum is 16.
template <Wgmma kHow>
WEFT_KERNEL(128, 1)
void Multiplies(const WEFT_PARAMS WordParams p) {
  WEFT_DYNAMIC_SHARED(uint32_t, tile);  // A: 64 rows of 32 bytes; B: 8 rows
  for (uint32_t i = threadIdx.x; i < 512 + 64; i += 128) tile[i] = PackBf16x2(1, 1);
  if constexpr (kHow != Wgmma::kNoProxyFence) FenceProxyAsync();
  if constexpr (kHow != Wgmma::kNoBarrier) __syncthreads();
  const uint64_t a = MakeDescriptor(tile, 16, 256, Swizzle::k32);
  const uint64_t b = MakeDescriptor(tile + 512, 16, 256, Swizzle::k32);
  float d[4] = {};
  if constexpr (kHow != Wgmma::kNoFence) WgmmaFence();
  WgmmaBf16<8>(d, a, b, false);
  WgmmaCommit();
  float early = d[0];
  if constexpr (kHow == Wgmma::kOverwrites) tile[threadIdx.x] = 0;
  WgmmaWait<0>();
  if constexpr (kHow != Wgmma::kReadsEarly) early = d[0];
  p.out[threadIdx.x] = __float_as_uint(early);
}

}  // namespace

TEST_CASE("wgmma: missing fences, early reads and overwritten tiles are found", "[simt]") {
  const Words w(128);
  constexpr uint32_t kBytes = 4096;
  CHECK(FindsNothing(RunKernel(Multiplies<Wgmma::kRight>, {1, 128, kBytes}, w.Params())));
  CHECK(w.out.Download()[77] == __float_as_uint(16.0f));
  CHECK(OnlyFinds(RunKernel(Multiplies<Wgmma::kNoFence>, {1, 128, kBytes}, w.Params()),
                  DefectKind::kBadArgument));
  CHECK(OnlyFinds(RunKernel(Multiplies<Wgmma::kNoProxyFence>, {1, 128, kBytes}, w.Params()),
                  DefectKind::kMissingProxyFence));
  CHECK(RunKernel(Multiplies<Wgmma::kOverwrites>, {1, 128, kBytes}, w.Params())
            .Has(DefectKind::kRace));
  CHECK(RunKernel(Multiplies<Wgmma::kNoBarrier>, {1, 128, kBytes}, w.Params())
            .Has(DefectKind::kRace));
  // Accumulators hold no number until the product was waited for.
  RunKernel(Multiplies<Wgmma::kReadsEarly>, {1, 128, kBytes}, w.Params());
  CHECK(std::isnan(__uint_as_float(w.out.Download()[77])));
}

}  // namespace weft::gpu
