// Allocations that emulated kernels may touch, and their shadow: which bytes were written, and for
// each granule the epochs of its last accesses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "libs/device/simt/clock.h"
#include "libs/device/simt/report.h"

namespace weft::simt {

struct Thread;

enum class Space : uint8_t { kGlobal, kShared };
enum class Access : uint8_t { kRead, kWrite, kAtomic };

// Who accesses memory: a thread, or an agent that a thread started and that works asynchronously.
struct Actor {
  const Thread* thread = nullptr;  // for reports and its block
  uint32_t block = 0;
  uint32_t component = 0;  // its own accesses carry (block, component, clock)
  uint32_t clock = 0;
  uint32_t self = 0;  // the issuing thread's component, covered up to self_clock
  uint32_t self_clock = 0;
  uint32_t copies = 0;  // that thread's component for cp.async, covered up to copies_done
  uint32_t copies_done = 0;
  bool bulk = false;  // of the async proxy: TMA and wgmma
  const Clock* seen = nullptr;

  Epoch epoch() const { return MakeEpoch(block, component, clock); }
  bool Covers(Epoch e) const {
    if (BlockOf(e) == block) {
      const uint32_t c = ComponentOf(e);
      if (c == component) return true;
      if (c == self) return ClockOf(e) <= self_clock;
      if (c == copies) return ClockOf(e) <= copies_done;
    }
    return seen != nullptr && seen->Covers(e);
  }
};

class Region {
 public:
  Region(Space space, size_t bytes, std::string name);
  // Global memory that somebody else owns; all of it counts as written.
  Region(void* memory, size_t bytes, std::string name);
  ~Region();
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  uintptr_t base() const { return base_; }
  size_t bytes() const { return bytes_; }
  Space space() const { return space_; }
  const std::string& name() const { return name_; }
  unsigned char* data() const { return reinterpret_cast<unsigned char*>(base_); }

  // Marks bytes as written, or as never written (which also fills them with a pattern that is no
  // number in any float format).
  void SetInitialised(size_t offset, size_t bytes, bool value);
  bool IsInitialised(size_t offset, size_t bytes) const;

  // Checks one access and records it. False if it must not be performed. `align` 0: any.
  bool Check(uintptr_t address, uint32_t bytes, uint32_t align, Access access, const Actor& actor,
             Site site);

 private:
  struct Cell {
    Epoch write;
    Epoch atomic;
    Epoch read;        // the latest reader
    uint32_t readers;  // 0, or 1 + the index of the list that holds the others
    uint32_t pad;
  };

  void MakeShadow();
  void Refine(uint32_t shift);
  void Track(size_t offset, uint32_t bytes, Access access, const Actor& actor, Site site);
  void Race(const char* before, Epoch other, size_t offset, Access access, const Actor& actor,
            Site site) const;
  void AddReader(Cell& cell, const Actor& actor);

  struct Free {
    void operator()(void* p) const;
  };
  Space space_;
  size_t bytes_;
  std::string name_;
  std::unique_ptr<unsigned char, Free> memory_;  // null: somebody else's
  uintptr_t base_;
  std::unique_ptr<uint8_t, Free> initialised_;  // a byte each
  uint32_t shift_ = 2;                          // log2 of the granule
  size_t cell_count_ = 0;
  std::unique_ptr<Cell, Free> cells_;  // zero pages until touched
  std::vector<std::vector<Epoch>> readers_;
};

// The allocation that holds `address`, its end included; null if there is none. Global memory only.
// Thread safe; a launch and whoever frees its memory are not at work together.
Region* FindRegion(const void* address);

// A number for each of `count` blocks; the first. Unique in the process.
uint32_t TakeBlockNumbers(uint64_t count);

// Blocks of this number and below belong to launches that are over: their accesses race with none.
void SetFirstBlock(uint32_t block);

}  // namespace weft::simt
