// What an emulated launch found and counted.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "libs/device/simt/vector_types.h"

namespace weft::simt {

// A place in a kernel's source.
struct Site {
  const char* file = nullptr;
  int line = 0;
};

enum class DefectKind : uint8_t {
  kOutOfBounds,        // outside the allocation that the pointer came from
  kNotDeviceMemory,    // through a null pointer, or one that is in no registered allocation
  kMisaligned,         // an address that is no multiple of the access's size
  kUninitialised,      // read of a byte that nothing has written
  kRace,               // two unordered accesses, one a write, of threads or asynchronous copies
  kMissingProxyFence,  // TMA or wgmma reads what a plain store wrote, without fence.proxy.async
  kDivergentBarrier,   // not every thread of the block reached the same __syncthreads
  kWarpMismatch,       // lanes of one mask at different warp operations, or a lane not in its mask
  kDeadlock,           // nothing can run any more
  kBadArgument,        // an operand that the instruction does not allow
  kUnfinishedCopy,     // the block ended before a bulk copy that nobody waited for
};
const char* Name(DefectKind kind);

struct Defect {
  DefectKind kind;
  gpu::uint3 block{};
  gpu::uint3 thread{};
  Site site;            // file is null where it is not known
  std::string message;  // what happened, with addresses as offsets in named allocations
  uint64_t times = 1;   // at this site
};

// Warp-level instructions of one class; block barriers count once a thread block.
enum class Instruction : uint8_t {
  kGlobalLoad,
  kGlobalStore,
  kSharedLoad,
  kSharedStore,
  kAtomic,
  kBlockBarrier,
  kNamedBarrier,
  kWarpSync,
  kShuffle,
  kVote,
  kMma,
  kWgmma,
  kLoadMatrix,
  kStoreMatrix,
  kAsyncCopy,
  kBulkCopy,
  kMbarrier,
  kFence,
  kCount
};
const char* Name(Instruction instruction);

// Of all executions of one access in the source.
struct SiteCounts {
  Site site;
  Instruction instruction{};
  uint64_t requests = 0;  // by a warp
  uint64_t bytes = 0;     // distinct ones, within each request
  // Global: 32-byte sectors touched, and the fewest that hold these bytes.
  uint64_t sectors = 0;
  uint64_t least_sectors = 0;
  // Shared: passes over the 32 banks, and the fewest for this access size.
  uint64_t wavefronts = 0;
  uint64_t least_wavefronts = 0;

  double Coalescing() const {
    return sectors == 0 ? 1.0 : static_cast<double>(least_sectors) / static_cast<double>(sectors);
  }
  uint64_t BankConflicts() const { return wavefronts - least_wavefronts; }
};

struct LaunchReport {
  std::string kernel;
  gpu::dim3 grid;
  gpu::dim3 block;
  uint32_t shared_bytes = 0;  // static and dynamic, of one block
  std::vector<Defect> defects;
  std::vector<SiteCounts> sites;
  uint64_t instructions[static_cast<int>(Instruction::kCount)] = {};

  uint64_t Count(Instruction i) const { return instructions[static_cast<int>(i)]; }
  bool Has(DefectKind kind) const;
  uint64_t Sectors() const;  // of global loads and stores
  uint64_t LeastSectors() const;
  double Coalescing() const;       // least / touched; 1 without global accesses
  uint64_t BankConflicts() const;  // extra passes of all shared accesses
  // Every defect and the counts of every site, one a line.
  std::string Text() const;
};

}  // namespace weft::simt
