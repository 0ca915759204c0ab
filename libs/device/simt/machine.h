// The emulated machine: a grid of blocks of warps of threads, each thread a fiber. One OS thread
// runs a launch; another may run another at the same time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "libs/device/simt/access_log.h"
#include "libs/device/simt/clock.h"
#include "libs/device/simt/fiber.h"
#include "libs/device/simt/memory.h"
#include "libs/device/simt/report.h"

namespace weft::simt {

class Block;
class Grid;
struct Rendezvous;

struct Options {
  bool races = true;
  bool counts = true;
  uint32_t seed = 0;              // order of warps and lanes; 0: ascending
  uint32_t resident_blocks = 64;  // that may wait for one another
  uint32_t max_shared_bytes = 227 * 1024;
};

enum class State : uint8_t { kNew, kReady, kWaiting, kPolling, kDone };

struct Thread {
  gpu::uint3 index{};
  Block* block = nullptr;
  uint32_t id = 0;  // in its block
  uint32_t lane = 0;
  State state = State::kNew;
  std::unique_ptr<Fiber> fiber;
  const char* waits_for = nullptr;
  Site site;  // of the latest access or wait

  // What it has synchronised with, and its own components of that.
  uint32_t clock = 1;
  uint32_t copies_issued = 0;  // by cp.async
  uint32_t copies_done = 0;
  ClockRef seen;
  ClockRef at_fence;          // what its latest __threadfence made visible to others
  ClockRef from_atomics;      // what its next __threadfence makes visible to it
  uint32_t fenced_clock = 0;  // own writes up to here were fenced for the async proxy
  uint32_t fenced_copies = 0;
  ClockRef fenced_seen;
  uint64_t async_slot = 0;        // used by the asynchronous primitives
  std::shared_ptr<void> pending;  // the asynchronous primitives' state of this thread
};

// Lanes of one mask that meet at one warp operation and see one another's operand.
struct Rendezvous {
  static constexpr size_t kSlotBytes = 64;
  uint32_t mask = 0;
  uint32_t arrived = 0;
  uint32_t left = 0;
  const char* operation = nullptr;
  alignas(16) unsigned char slot[32][kSlotBytes];
};

struct Warp {
  std::vector<std::unique_ptr<Rendezvous>> meetings;
  AccessLog log;
};

struct NamedBarrier {
  uint32_t expected = 0;
  uint32_t arrived = 0;
  std::unique_ptr<Clock> joined;
  std::vector<Thread*> waiting;
};

class Block {
 public:
  Block(Grid& grid, gpu::uint3 index, uint32_t number);
  ~Block();

  // One pass over all threads that can run. True if any got further.
  bool RunOnce();
  bool done() const { return done_ == threads.size(); }

  void Barrier(Site site);
  void NamedBarrierArrive(uint32_t id, uint32_t count, bool wait, Site site);
  // The array that every thread of the block finds by the same key.
  Region* StaticShared(const void* key, size_t bytes);
  void FlushLogs();

  Grid& grid;
  gpu::uint3 index;
  uint32_t number;  // unique in this process
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  std::shared_ptr<Region> dynamic_shared;
  std::map<const void*, std::shared_ptr<Region>> static_shared;
  std::map<uint32_t, NamedBarrier> named;
  std::shared_ptr<void> async;  // the asynchronous primitives' state of this block
  // Called before the block is given up: what is still in flight?
  std::vector<std::function<void()>> at_end;

  uint32_t CopyComponent(uint32_t thread) const {
    return static_cast<uint32_t>(threads.size()) + thread;
  }
  // Of the asynchronous agents: mbarriers, bulk stores, wgmma.
  uint32_t AgentComponent(uint32_t agent) const {
    return static_cast<uint32_t>(2 * threads.size()) + agent;
  }

 private:
  void ReleaseBarrier();

  size_t done_ = 0;
  size_t at_barrier_ = 0;
  Site barrier_site_;
  bool barrier_diverges_ = false;
  std::vector<uint32_t> order_;
};

class Grid {
 public:
  Grid(const char* kernel, gpu::dim3 grid, gpu::dim3 block, uint32_t dynamic_bytes,
       std::function<void()> body, const Options& options);
  ~Grid();

  // Runs every block; the report is in `report` afterwards.
  void Run();

  // Adds a defect, or counts it if this kind was already found at this site.
  template <typename F>
  void Report(DefectKind kind, const Thread* thread, Site site, F message) {
    if (site.file == nullptr && thread != nullptr) site = thread->site;
    if (Defect* defect = FindDefect(kind, site)) {
      ++defect->times;
    } else {
      AddDefect(kind, thread, site, message());
    }
  }
  void Count(Instruction i, uint64_t n = 1) { report.instructions[static_cast<int>(i)] += n; }

  // "thread (1,0,0) of block (0,0,0)" or what else accessed memory then.
  std::string Describe(Epoch epoch) const;
  // Whether fence.proxy.async lies between the plain write `epoch` and the asynchronous read.
  bool IsFenced(const Actor& actor, Epoch epoch) const;
  // Ends the launch: every thread is unwound at its next wait. Reports where each one waits.
  void Abort() { aborting = true; }

  gpu::dim3 grid_dim;
  gpu::dim3 block_dim;
  uint32_t dynamic_bytes;
  std::function<void()> body;
  Options options;
  LaunchReport report;
  uint64_t events = 0;  // writes and arrivals: a poll that sees none of them waits in vain
  bool aborting = false;
  std::map<uintptr_t, ClockRef> atomics;  // by address: what releases there made visible
  SiteTable sites;

  gpu::uint3 BlockIndex(uint64_t linear) const;

 private:
  Defect* FindDefect(DefectKind kind, Site site);
  void AddDefect(DefectKind kind, const Thread* thread, Site site, std::string message);
  void Deadlock();
  void Unwind(Block& block);

  uint32_t first_number_ = 0;
  std::vector<std::unique_ptr<Block>> active_;
};

// Valid inside a kernel only.
extern thread_local Thread* current_thread;
inline Thread& Current() { return *current_thread; }
Grid& CurrentGrid();

// Gives the processor to other threads until somebody makes this one ready. `what` is for reports.
void Wait(const char* what, Site site);
// Gives the processor to others once: in loops that watch memory.
void Poll(const char* what, Site site);

Actor ThreadActor(const Thread& thread);
// Adds to `to` what `thread` has done and seen; what it does from now on is not in it.
void ReleaseInto(Thread& thread, Clock& to);
void Acquire(Thread& thread, const Clock& from);

// One lane's part of a warp operation: waits for all lanes of `mask`; then their operands can be
// read until the object is gone.
class WarpOperation {
 public:
  WarpOperation(uint32_t mask, const char* operation, Instruction instruction, const void* operand,
                size_t bytes, Site site, bool orders_memory = false);
  ~WarpOperation();
  WarpOperation(const WarpOperation&) = delete;
  WarpOperation& operator=(const WarpOperation&) = delete;

  template <typename T>
  T From(uint32_t lane) const {
    T value;
    std::memcpy(&value, meeting_->slot[lane & 31], sizeof(T));
    return value;
  }
  bool Holds(uint32_t lane) const { return (meeting_->mask >> (lane & 31) & 1) != 0; }

 private:
  Rendezvous* meeting_;
};

}  // namespace weft::simt
