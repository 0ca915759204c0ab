// What accesses cost: sectors of global requests, passes over shared memory's banks, instructions.
#include <vector>

#include "tests/unit/simt/run.h"

namespace weft::gpu {
namespace {

using simt::Instruction;

struct CountParams {
  GlobalPtr<const float> in;
  GlobalPtr<float> out;
  uint32_t stride;
  uint32_t offset;
};

WEFT_KERNEL(64) void Copies(const WEFT_PARAMS CountParams p) {
  const float x = p.in[p.stride * threadIdx.x + p.offset];
  p.out[threadIdx.x] = x;
}
WEFT_KERNEL(64) void CopiesVectors(const WEFT_PARAMS CountParams p) {
  PtrCast<float4>(p.out)[threadIdx.x] = PtrCast<const float4>(p.in)[threadIdx.x];
}
// Each lane reads down a column: with 32 words a row all lanes meet in one bank.
template <uint32_t kRow>
WEFT_KERNEL(32)
void ReadsColumns(const WEFT_PARAMS CountParams p) {
  WEFT_SHARED(float, tile, 32 * kRow);
  for (uint32_t r = 0; r < 32; ++r) tile[r * kRow + threadIdx.x] = p.in[threadIdx.x];
  __syncthreads();
  float sum = 0;
  for (uint32_t c = 0; c < 32; ++c) sum += tile[threadIdx.x * kRow + c];
  p.out[threadIdx.x] = sum;
}
template <bool kSwizzled>
WEFT_KERNEL(32)
void LoadsMatrices(const WEFT_PARAMS CountParams p) {
  WEFT_DYNAMIC_SHARED(uint32_t, tile);  // 8 rows of 128 bytes
  for (uint32_t i = threadIdx.x; i < 256; i += 32) tile[i] = i;
  __syncthreads();
  uint32_t r[4];
  uint32_t sum = 0;
  for (uint32_t c = 0; c < 2; ++c) {
    uint32_t at = threadIdx.x % 8 * 128 + (4 * c + threadIdx.x / 8) * 16;
    if constexpr (kSwizzled) at = SwizzleOffset(Swizzle::k128, at);
    LoadMatrix(r, tile + at / 4);
    sum += r[0] + r[1] + r[2] + r[3];
  }
  p.out[threadIdx.x] = static_cast<float>(sum);
}
// The first four of each eight lanes copy 16 bytes, and write them; the others copy nothing.
WEFT_KERNEL(32) void CopiesHalves(const WEFT_PARAMS CountParams p) {
  WEFT_DYNAMIC_SHARED(float, tile);
  const bool reads = threadIdx.x % 8 < 4;
  for (uint32_t round = 0; round < 2; ++round) {
    CopyAsyncZeroFill<16>(tile + 4 * threadIdx.x, p.in + 4 * threadIdx.x, reads ? 16 : 0);
  }
  CopyAsyncCommit();
  CopyAsyncWait<0>();
  __syncthreads();
  if (reads) PtrCast<float4>(tile)[threadIdx.x] = make_float4(1, 2, 3, 4);
  p.out[threadIdx.x] = 0.0f;
}
// Only some lanes take part, and not equally often.
WEFT_KERNEL(32) void Diverges(const WEFT_PARAMS CountParams p) {
  float sum = 0;
  for (uint32_t i = 0; i < threadIdx.x % 4; ++i) sum += p.in[32 * i + threadIdx.x];
  if (threadIdx.x < 8) sum += p.in[threadIdx.x];
  p.out[threadIdx.x] = sum;
}

struct Data {
  Data() : in(std::vector<float>(4096, 1.0f), "in"), out(256, "out") {}
  CountParams Params(uint32_t stride, uint32_t offset = 0) const {
    return {in.data(), out.data(), stride, offset};
  }
  simt::Buffer<float> in;
  simt::Buffer<float> out;
};

const simt::SiteCounts& Loads(const simt::LaunchReport& report) {
  for (const simt::SiteCounts& s : report.sites) {
    if (s.instruction == Instruction::kGlobalLoad) return s;
  }
  FAIL("no load was counted");
  return report.sites.front();
}

}  // namespace

TEST_CASE("Sectors: neighbours share them, strides and offsets waste them", "[simt]") {
  const Data d;
  const auto sectors = [&](uint32_t stride, uint32_t offset) {
    const simt::LaunchReport& report = RunKernel(Copies, {1, 64}, d.Params(stride, offset));
    CHECK(FindsNothing(report));
    CHECK(Loads(report).requests == 2);
    return Loads(report).sectors;
  };
  CHECK(sectors(1, 0) == 8);   // two warps of 128 bytes
  CHECK(sectors(1, 1) == 10);  // one more a warp
  CHECK(sectors(2, 0) == 16);
  CHECK(sectors(8, 0) == 64);  // one for each lane
  CHECK(sectors(0, 0) == 2);   // a broadcast
  RunKernel(Copies, {1, 64}, d.Params(8));
  CHECK(Loads(simt::LastReport()).Coalescing() == Approx(0.125));
  const simt::LaunchReport& vectors = RunKernel(CopiesVectors, {1, 64}, d.Params(1));
  CHECK(Loads(vectors).requests == 2);
  CHECK(Loads(vectors).sectors == 32);
  CHECK(vectors.Coalescing() == 1.0);
}

TEST_CASE("Bank conflicts: a column of 32 words conflicts, a padded or swizzled one does not",
          "[simt]") {
  const Data d;
  const simt::LaunchReport plain = RunKernel(ReadsColumns<32>, {1, 32}, d.Params(1));
  CHECK(FindsNothing(plain));
  CHECK(plain.BankConflicts() == 32 * 31);
  CHECK(RunKernel(ReadsColumns<33>, {1, 32}, d.Params(1)).BankConflicts() == 0);
  // Eight rows of 16 bytes, 128 bytes apart, lie in the same four banks.
  const simt::LaunchReport rows = RunKernel(LoadsMatrices<false>, {1, 32, 1024}, d.Params(1));
  CHECK(rows.Count(Instruction::kLoadMatrix) == 2);
  CHECK(rows.BankConflicts() == 2 * 4 * 7);
  CHECK(RunKernel(LoadsMatrices<true>, {1, 32, 1024}, d.Params(1)).BankConflicts() == 0);
}

TEST_CASE(
    "A pass over the banks serves eight neighbouring lanes, and copies of nothing read nothing",
    "[simt]") {
  const Data d;
  const simt::LaunchReport& report = RunKernel(CopiesHalves, {1, 32, 512}, d.Params(1));
  CHECK(FindsNothing(report));
  CHECK(report.BankConflicts() == 0);
  CHECK(report.Count(Instruction::kAsyncCopy) == 2);
  for (const simt::SiteCounts& s : report.sites) {
    if (s.instruction == Instruction::kAsyncCopy) {
      CHECK(s.requests == 2);
      CHECK(s.bytes == 2 * 16 * 16);
      CHECK(s.sectors == s.least_sectors);
    }
    if (s.instruction == Instruction::kSharedStore) CHECK(s.wavefronts % 4 == 0);
  }
}

TEST_CASE("Instructions are counted by warp, whichever lanes take part", "[simt]") {
  const Data d;
  const simt::LaunchReport& report = RunKernel(Diverges, {1, 32}, d.Params(1));
  CHECK(FindsNothing(report));
  CHECK(report.Count(Instruction::kGlobalLoad) == 4);  // three rounds of the loop and the branch
  CHECK(report.Count(Instruction::kGlobalStore) == 1);
  const simt::LaunchReport& columns = RunKernel(ReadsColumns<33>, {3, 32}, d.Params(1));
  CHECK(columns.Count(Instruction::kSharedStore) == 3 * 32);
  CHECK(columns.Count(Instruction::kSharedLoad) == 3 * 32);
  CHECK(columns.Count(Instruction::kBlockBarrier) == 3);
}

}  // namespace weft::gpu
