// What works asynchronously in an emulated block: cp.async groups, mbarriers with the bulk copies
// that complete on them, and bulk stores. Each operation runs at the last moment the hardware could
// run it, when somebody waits for it, so that a missing wait shows as wrong data and as a race.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "libs/device/simt/kernel_emulated.h"
#include "libs/device/tensor_map.h"

namespace weft::simt {

// An address and the allocation it came from.
struct Place {
  unsigned char* address = nullptr;
  Region* region = nullptr;
  template <typename T, Space kSpace>
  static Place Of(const Ptr<T, kSpace>& p) {
    return {reinterpret_cast<unsigned char*>(const_cast<std::remove_const_t<T>*>(p.address())),
            p.region()};
  }
};

// An operation that was started; `run` performs it, with checks.
struct AsyncOperation {
  Actor actor;
  ClockRef seen;  // keeps actor.seen alive
  std::function<void(const Actor&)> run;
};

struct ThreadAsync {
  // cp.async: the open group, then the committed ones, oldest first.
  std::vector<AsyncOperation> open;
  std::deque<std::vector<AsyncOperation>> groups;
  // Bulk stores the same; a group's reads of shared memory end before its writes.
  struct Store {
    AsyncOperation operation;
    uint32_t write_clock = 0;
  };
  std::vector<Store> open_stores;
  std::deque<std::vector<Store>> store_groups;
  uint32_t read_agent = 0;  // 1 + number
  uint32_t write_agent = 0;
  uint32_t read_clock = 0;
  uint32_t write_clock = 0;
  uint32_t reads_done = 0;    // groups whose stores were run
  uint32_t last_written = 0;  // write clock of the stores that were run
};

struct Mbarrier {
  uint32_t expected = 0;
  int64_t pending = 0;
  int64_t bytes = 0;  // expected and not yet copied
  uint32_t phase = 0;
  uint32_t agent = 0;
  uint32_t agent_clock = 0;
  std::unique_ptr<Clock> arriving;
  ClockRef completed;
  std::vector<std::pair<AsyncOperation, uint32_t>> in_flight;  // and the bytes of each
};

struct BlockAsync {
  std::map<uintptr_t, Mbarrier> barriers;
  uint32_t agents = 0;
  uint32_t NewAgent() { return agents++; }
};

BlockAsync& AsyncOf(Block& block);
ThreadAsync& AsyncOf(Thread& thread);

// Starts an operation of the current thread on behalf of component `component` at `clock`.
AsyncOperation Begin(Thread& thread, uint32_t component, uint32_t clock, bool bulk,
                     std::function<void(const Actor&)> run);

// The primitives themselves. `fill` bytes of zero follow the `bytes` that are read.
void StartCopy(Place to, Place from, uint32_t bytes, uint32_t fill, Site site);
void CommitCopies();
void WaitCopies(size_t left);
void InitBarrier(Place barrier, uint32_t arrivals, Site site);
void Arrive(Place barrier, int64_t expect, bool arrives, Site site);
bool TryWait(Place barrier, uint32_t parity, Site site);
void ArriveAfterCopies(Place barrier, Site site);
void StartBulkLoad(Place to, Place from, uint32_t bytes, Place barrier, Site site);
void StartBulkStore(Place to, Place from, uint32_t bytes, Site site);
void StartTensorLoad(Place to, const gpu::TensorMap& map, Place barrier, const int* at,
                     uint32_t rank, Site site);
void StartTensorStore(const gpu::TensorMap& map, Place from, const int* at, uint32_t rank, bool add,
                      Site site);
void CommitStores();
void WaitStores(size_t left, bool only_reads);
void FenceAsyncProxy();

}  // namespace weft::simt
