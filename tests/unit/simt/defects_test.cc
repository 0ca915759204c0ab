// Broken kernels: each class of defect must be found, and its repaired twin must pass.
#include <numeric>
#include <vector>

#include "tests/unit/simt/run.h"

namespace weft::gpu {
namespace {

using simt::DefectKind;

std::vector<int32_t> Ascending(int n) {
  std::vector<int32_t> v(static_cast<size_t>(n));
  std::iota(v.begin(), v.end(), 0);
  return v;
}

struct Fixture {
  explicit Fixture(int n) : in(Ascending(n), "in"), out(static_cast<size_t>(n), "out") {}
  IntParams Params() const { return {in.data(), out.data(), static_cast<int>(in.size())}; }
  simt::Buffer<int32_t> in;
  simt::Buffer<int32_t> out;
};

// --- Addresses
// ------------------------------------------------------------------------------------

WEFT_KERNEL(64) void ReadsPastTheEnd(const WEFT_PARAMS IntParams p) {
  p.out[threadIdx.x] = p.in[threadIdx.x + 1];
}
WEFT_KERNEL(64) void WritesBeforeTheStart(const WEFT_PARAMS IntParams p) {
  p.out[static_cast<int>(threadIdx.x) - 1] = p.in[threadIdx.x];
}
WEFT_KERNEL(64) void OverflowsSharedMemory(const WEFT_PARAMS IntParams p) {
  WEFT_SHARED(int32_t, first, 32);
  WEFT_SHARED(int32_t, second, 64);
  second[threadIdx.x] = 0;
  first[threadIdx.x] = p.in[threadIdx.x];
  p.out[threadIdx.x] = 1;
}
WEFT_KERNEL(32) void ReadsAVectorAtAnOddAddress(const WEFT_PARAMS IntParams p) {
  const int4 v = PtrCast<const int4>(p.in + 1)[threadIdx.x / 16];
  p.out[threadIdx.x] = v.x;
}

}  // namespace

TEST_CASE("An access outside its allocation is found, with its place, and not performed",
          "[simt]") {
  const Fixture f(64);
  const simt::LaunchReport& read = RunKernel(ReadsPastTheEnd, {1, 64}, f.Params());
  REQUIRE(OnlyFinds(read, DefectKind::kOutOfBounds));
  CHECK(read.defects.size() == 1);
  CHECK(read.defects[0].thread.x == 63);
  CHECK(std::string(read.defects[0].site.file).find("defects_test.cc") != std::string::npos);
  CHECK(read.defects[0].site.line > 20);
  CHECK(read.defects[0].message == "read of 4 bytes at offset 256 of in (256 bytes)");
  CHECK(OnlyFinds(RunKernel(WritesBeforeTheStart, {1, 64}, f.Params()), DefectKind::kOutOfBounds));
  // An array's overflow does not reach the next array.
  const simt::LaunchReport& shared = RunKernel(OverflowsSharedMemory, {1, 64}, f.Params());
  CHECK(OnlyFinds(shared, DefectKind::kOutOfBounds));
  CHECK(shared.defects[0].times == 32);
}

TEST_CASE("A null pointer, host memory and a misaligned vector are found", "[simt]") {
  const Fixture f(64);
  std::vector<int32_t> host(64);
  CHECK(OnlyFinds(RunKernel(ReadsPastTheEnd, {1, 32}, IntParams{nullptr, f.out.data(), 0}),
                  DefectKind::kNotDeviceMemory));
  CHECK(OnlyFinds(RunKernel(ReadsPastTheEnd, {1, 32}, IntParams{host.data(), f.out.data(), 0}),
                  DefectKind::kNotDeviceMemory));
  CHECK(OnlyFinds(RunKernel(ReadsAVectorAtAnOddAddress, {1, 32}, f.Params()),
                  DefectKind::kMisaligned));
}

// --- Uninitialised memory
// -------------------------------------------------------------------------

namespace {

WEFT_KERNEL(64) void ReadsSharedBeforeWriting(const WEFT_PARAMS IntParams p) {
  WEFT_DYNAMIC_SHARED(int32_t, tile);
  if (threadIdx.x != 5) tile[threadIdx.x] = p.in[threadIdx.x];
  __syncthreads();
  p.out[64 * blockIdx.x + threadIdx.x] = tile[63 - threadIdx.x];
}
WEFT_KERNEL(64) void ReadsItsOutput(const WEFT_PARAMS IntParams p) {
  p.out[threadIdx.x] += p.in[threadIdx.x];
}

}  // namespace

TEST_CASE("A read of what nothing wrote is found in shared and in global memory", "[simt]") {
  const Fixture f(128);
  const simt::LaunchReport& shared = RunKernel(ReadsSharedBeforeWriting, {2, 64, 256}, f.Params());
  CHECK(OnlyFinds(shared, DefectKind::kUninitialised));
  CHECK(shared.defects[0].times == 2);  // shared memory does not outlive a block
  CHECK(shared.defects[0].thread.x == 58);
  Fixture fresh(64);
  CHECK(OnlyFinds(RunKernel(ReadsItsOutput, {1, 64}, fresh.Params()), DefectKind::kUninitialised));
  CHECK(fresh.out.IsWritten());
  CHECK(FindsNothing(RunKernel(ReadsItsOutput, {1, 64}, fresh.Params())));
}

// --- Races
// ----------------------------------------------------------------------------------------

namespace {

template <bool kBarrier>
WEFT_KERNEL(64)
void Reverses(const WEFT_PARAMS IntParams p) {
  WEFT_SHARED(int32_t, tile, 64);
  tile[threadIdx.x] = p.in[threadIdx.x];
  if constexpr (kBarrier) __syncthreads();
  p.out[threadIdx.x] = tile[threadIdx.x ^ 1];
}
template <bool kSecondBarrier>
WEFT_KERNEL(64)
void ReusesATile(const WEFT_PARAMS IntParams p) {
  WEFT_SHARED(int32_t, tile, 64);
  int32_t sum = 0;
  for (int i = 0; i < 2; ++i) {
    tile[threadIdx.x] = p.in[threadIdx.x] + i;
    __syncthreads();
    sum += tile[63 - threadIdx.x];
    if constexpr (kSecondBarrier) __syncthreads();
  }
  p.out[threadIdx.x] = sum;
}
// Lanes talk through shared memory: __syncwarp orders that, a shuffle does not.
template <bool kSyncWarp>
WEFT_KERNEL(64)
void TalksWithinAWarp(const WEFT_PARAMS IntParams p) {
  WEFT_SHARED(int32_t, tile, 64);
  tile[threadIdx.x] = p.in[threadIdx.x];
  if constexpr (kSyncWarp) {
    __syncwarp();
  } else {
    __shfl_xor_sync(0xffffffffu, 1, 1);
  }
  p.out[threadIdx.x] = tile[threadIdx.x ^ 31];
}
WEFT_KERNEL(64) void BytesOfAWord(const WEFT_PARAMS IntParams p) {
  WEFT_SHARED(int32_t, word, 16);
  const SharedPtr<uint8_t> bytes = PtrCast<uint8_t>(word);
  bytes[threadIdx.x] = static_cast<uint8_t>(p.in[threadIdx.x]);
  __syncthreads();
  p.out[threadIdx.x] = word[threadIdx.x / 4];
}
WEFT_KERNEL(32) void AllBlocksWriteOneWord(const WEFT_PARAMS IntParams p) {
  if (threadIdx.x == 0) p.out[0] = p.in[blockIdx.x];
}
WEFT_KERNEL(32) void AllBlocksAddToOneWord(const WEFT_PARAMS IntParams p) {
  if (threadIdx.x == 0) atomicAdd(p.out, p.in[blockIdx.x]);
}
// The last block to finish adds up what all blocks wrote.
template <bool kFence>
WEFT_KERNEL(32)
void LastBlockSums(const WEFT_PARAMS IntParams p) {
  const int blocks = static_cast<int>(gridDim.x);
  if (threadIdx.x != 0) return;
  p.out[1 + blockIdx.x] = p.in[blockIdx.x];
  if constexpr (kFence) __threadfence();
  if (atomicAdd(p.out, 1) != blocks - 1) return;
  if constexpr (kFence) __threadfence();
  int32_t sum = 0;
  for (int i = 0; i < blocks; ++i) sum += p.out[1 + i];
  p.out[1 + blocks] = sum;
}

}  // namespace

TEST_CASE("A missing barrier is a race, in whatever order the threads ran", "[simt]") {
  for (const uint32_t seed : {0u, 1u, 7u}) {
    simt::LaunchOptions().seed = seed;
    const Fixture f(64);
    CHECK(RunKernel(Reverses<false>, {1, 64}, f.Params()).Has(DefectKind::kRace));
    CHECK(FindsNothing(RunKernel(Reverses<true>, {1, 64}, f.Params())));
    CHECK(RunKernel(ReusesATile<false>, {1, 64}, f.Params()).Has(DefectKind::kRace));
    CHECK(FindsNothing(RunKernel(ReusesATile<true>, {1, 64}, f.Params())));
    CHECK(RunKernel(TalksWithinAWarp<false>, {1, 64}, f.Params()).Has(DefectKind::kRace));
    CHECK(FindsNothing(RunKernel(TalksWithinAWarp<true>, {1, 64}, f.Params())));
  }
  simt::LaunchOptions() = {};
}

TEST_CASE("Bytes of one word may be written by different threads", "[simt]") {
  const Fixture f(64);
  CHECK(FindsNothing(RunKernel(BytesOfAWord, {1, 64}, f.Params())));
}

TEST_CASE("Blocks race unless atomics and fences order them", "[simt]") {
  Fixture f(64);
  CHECK(OnlyFinds(RunKernel(AllBlocksWriteOneWord, {4, 32}, f.Params()), DefectKind::kRace));
  f.out.Upload(std::vector<int32_t>(64));
  CHECK(FindsNothing(RunKernel(AllBlocksAddToOneWord, {4, 32}, f.Params())));
  CHECK(f.out.Download()[0] == 0 + 1 + 2 + 3);
  f.out.Upload(std::vector<int32_t>(64));
  CHECK(FindsNothing(RunKernel(LastBlockSums<true>, {8, 32}, f.Params())));
  CHECK(f.out.Download()[9] == 28);
  f.out.Upload(std::vector<int32_t>(64));
  CHECK(RunKernel(LastBlockSums<false>, {8, 32}, f.Params()).Has(DefectKind::kRace));
}

// --- Barriers and warp operations
// -----------------------------------------------------------------

namespace {

WEFT_KERNEL(64) void BarrierInBothBranches(const WEFT_PARAMS IntParams p) {
  if (threadIdx.x < 32) {
    p.out[threadIdx.x] = 1;
    __syncthreads();
  } else {
    p.out[threadIdx.x] = 2;
    __syncthreads();
  }
}
WEFT_KERNEL(64) void ReturnsBeforeTheBarrier(const WEFT_PARAMS IntParams p) {
  if (static_cast<int>(threadIdx.x) >= p.n - 1) return;
  __syncthreads();
  p.out[threadIdx.x] = 1;
}
WEFT_KERNEL(32) void ShufflesInABranch(const WEFT_PARAMS IntParams p) {
  if (threadIdx.x < 16) p.out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1, 1);
}
WEFT_KERNEL(32) void MixesWarpOperations(const WEFT_PARAMS IntParams p) {
  if (threadIdx.x < 16) {
    p.out[threadIdx.x] = __shfl_sync(0xffffffffu, 1, 0);
  } else {
    p.out[threadIdx.x] = static_cast<int32_t>(__ballot_sync(0xffffffffu, 1));
  }
}
WEFT_KERNEL(32) void IsNotInItsMask(const WEFT_PARAMS IntParams p) {
  p.out[threadIdx.x] = __shfl_sync(0x0000ffffu, 1, 0);
}
// Two halves of a warp, each on its own: legal.
WEFT_KERNEL(32) void HalvesOfAWarp(const WEFT_PARAMS IntParams p) {
  if (threadIdx.x < 16) {
    p.out[threadIdx.x] = __shfl_xor_sync(0x0000ffffu, p.in[threadIdx.x], 1);
  } else {
    int32_t v = p.in[threadIdx.x];
    for (int i = 0; i < 3; ++i) v = __shfl_down_sync(0xffff0000u, v, 1, 16);
    p.out[threadIdx.x] = v;
  }
}
WEFT_KERNEL(64) void WaitsForAbsentThreads(const WEFT_PARAMS IntParams p) {
  if (threadIdx.x < 32) NamedBarrierSync(1, 64);
  p.out[threadIdx.x] = 1;
}
WEFT_KERNEL(64) void CountsANamedBarrierTwoWays(const WEFT_PARAMS IntParams p) {
  NamedBarrierSync(1, threadIdx.x < 32 ? 64 : 32);
  p.out[threadIdx.x] = 1;
}
WEFT_KERNEL(64) void NamesABarrierThatIsNot(const WEFT_PARAMS IntParams p) {
  NamedBarrierSync(16, 64);
  p.out[threadIdx.x] = 1;
}

}  // namespace

TEST_CASE("Barriers that not every thread reaches alike are found", "[simt]") {
  const Fixture f(64);
  CHECK(OnlyFinds(RunKernel(BarrierInBothBranches, {1, 64}, f.Params()),
                  DefectKind::kDivergentBarrier));
  CHECK(OnlyFinds(RunKernel(ReturnsBeforeTheBarrier, {1, 64}, f.Params()),
                  DefectKind::kDivergentBarrier));
  const simt::LaunchReport& waits = RunKernel(WaitsForAbsentThreads, {1, 64}, f.Params());
  CHECK(OnlyFinds(waits, DefectKind::kDeadlock));
  CHECK(waits.defects[0].times == 32);
  CHECK(RunKernel(CountsANamedBarrierTwoWays, {1, 64}, f.Params())
            .Has(DefectKind::kDivergentBarrier));
  CHECK(
      OnlyFinds(RunKernel(NamesABarrierThatIsNot, {1, 64}, f.Params()), DefectKind::kBadArgument));
}

TEST_CASE("Warp operations that the lanes of a mask do not share are found", "[simt]") {
  const Fixture f(64);
  CHECK(OnlyFinds(RunKernel(ShufflesInABranch, {1, 32}, f.Params()), DefectKind::kDeadlock));
  CHECK(OnlyFinds(RunKernel(MixesWarpOperations, {1, 32}, f.Params()), DefectKind::kWarpMismatch));
  CHECK(RunKernel(IsNotInItsMask, {1, 32}, f.Params()).Has(DefectKind::kWarpMismatch));
  for (const uint32_t seed : {0u, 3u}) {
    simt::LaunchOptions().seed = seed;
    CHECK(FindsNothing(RunKernel(HalvesOfAWarp, {1, 32}, f.Params())));
    CHECK(f.out.Download()[0] == 1);
    CHECK(f.out.Download()[16] == 19);
    CHECK(f.out.Download()[31] == 31);
  }
  simt::LaunchOptions() = {};
}

// --- Between blocks
// -------------------------------------------------------------------------------

namespace {

struct FlagParams {
  GlobalPtr<uint32_t> flag;
  GlobalPtr<int32_t> value;
};

// Block 0 waits for a value that the last block hands over.
template <bool kRelease>
WEFT_KERNEL(32)
void HandsOver(const WEFT_PARAMS FlagParams p) {
  if (threadIdx.x != 0) return;
  if (blockIdx.x == 0) {
    while (LoadAcquire(p.flag) == 0) {
    }
    p.value[1] = p.value[0];
  } else if (blockIdx.x == gridDim.x - 1) {
    p.value[0] = 42;
    if constexpr (kRelease) {
      StoreRelease(p.flag, 1);
    } else {
      atomicExch(p.flag, 1u);
    }
  }
}

}  // namespace

TEST_CASE("Blocks may wait for one another; a flag that never comes is a deadlock", "[simt]") {
  const simt::Buffer<int32_t> value(2, "value");
  const simt::Buffer<uint32_t> flag(std::vector<uint32_t>(1), "flag");
  CHECK(FindsNothing(RunKernel(HandsOver<true>, {4, 32}, FlagParams{flag.data(), value.data()})));
  CHECK(value.Download()[1] == 42);
  const simt::Buffer<uint32_t> second(std::vector<uint32_t>(1), "flag");
  CHECK(OnlyFinds(RunKernel(HandsOver<false>, {4, 32}, FlagParams{second.data(), value.data()}),
                  DefectKind::kRace));
  const simt::Buffer<uint32_t> third(std::vector<uint32_t>(1), "flag");
  simt::LaunchOptions().resident_blocks = 2;  // a block that ended makes room
  CHECK(FindsNothing(RunKernel(HandsOver<true>, {4, 32}, FlagParams{third.data(), value.data()})));
  simt::LaunchOptions() = {};
  const simt::Buffer<uint32_t> fourth(std::vector<uint32_t>(1), "flag");
  CHECK(OnlyFinds(RunKernel(HandsOver<true>, {1, 32}, FlagParams{fourth.data(), value.data()}),
                  DefectKind::kDeadlock));
}

}  // namespace weft::gpu
