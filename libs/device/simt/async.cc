#include "libs/device/simt/async.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "libs/device/number_types.h"
#include "libs/device/simt/intrinsics.h"

namespace weft::simt {
namespace {

void LogAs(Thread& thread, const Place& place, uint32_t bytes, Instruction instruction, bool shared,
           Site site, uint32_t unread = 0) {
  if (!thread.block->grid.options.counts) return;
  thread.block->warps[thread.id / 32].log.Add(
      thread.lane, {reinterpret_cast<uintptr_t>(place.address), site, static_cast<uint16_t>(bytes),
                    instruction, shared, static_cast<uint8_t>(unread)});
}

bool Bad(Site site, bool bad, const char* what) {
  if (bad) {
    CurrentGrid().Report(DefectKind::kBadArgument, &Current(), site,
                         [&] { return std::string(what); });
  }
  return bad;
}

bool IsAligned(const Place& p, uintptr_t to) {
  return p.region != nullptr &&
         (reinterpret_cast<uintptr_t>(p.address) - p.region->base()) % to == 0;
}

// Reads or writes `bytes` on behalf of an asynchronous operation; what may not be read is zero.
bool Transfer(const Place& place, uint32_t bytes, Access access, const Actor& actor, Site site,
              unsigned char* buffer) {
  if (place.region == nullptr) {
    CurrentGrid().Report(DefectKind::kNotDeviceMemory, actor.thread, site,
                         [] { return std::string("copy to or from no device allocation"); });
    return false;
  }
  if (!place.region->Check(reinterpret_cast<uintptr_t>(place.address), bytes, 0, access, actor,
                           site)) {
    return false;
  }
  if (access == Access::kRead) {
    std::memcpy(buffer, place.address, bytes);
  } else {
    std::memcpy(place.address, buffer, bytes);
  }
  return true;
}

void RunOperation(const AsyncOperation& operation) {
  Actor actor = operation.actor;
  actor.seen = operation.seen.get();
  operation.run(actor);
}

Mbarrier* FindBarrier(const Place& place, Site site) {
  auto& barriers = AsyncOf(*Current().block).barriers;
  const auto found = barriers.find(reinterpret_cast<uintptr_t>(place.address));
  if (found != barriers.end()) return &found->second;
  Bad(site, true, "an mbarrier that was not initialised");
  return nullptr;
}

void EndPhaseIfDone(Block& block, Mbarrier& barrier) {
  if (barrier.pending != 0 || barrier.bytes != 0) return;
  barrier.completed = ClockRef(barrier.arriving.release());
  barrier.arriving = std::make_unique<Clock>();
  barrier.arriving->block = block.number;
  barrier.pending = barrier.expected;
  ++barrier.phase;
  ++block.grid.events;
}

// Everything that was started and completes on this barrier.
void RunInFlight(Block& block, Mbarrier& barrier) {
  if (barrier.in_flight.empty()) return;
  auto operations = std::move(barrier.in_flight);
  barrier.in_flight.clear();
  for (const auto& [operation, bytes] : operations) {
    RunOperation(operation);
    barrier.arriving->Raise(operation.actor.component, operation.actor.clock);
    barrier.bytes -= bytes;
    ++block.grid.events;
    EndPhaseIfDone(block, barrier);
  }
}

void CountBulk(Site site, uint64_t bytes, uint64_t sectors) {
  Grid& grid = CurrentGrid();
  grid.Count(Instruction::kBulkCopy);
  SiteCounts& counts = grid.sites.At(site, Instruction::kBulkCopy);
  ++counts.requests;
  counts.bytes += bytes;
  counts.sectors += sectors;
  counts.least_sectors += (bytes + 31) / 32;
}

uint64_t SectorsOf(const void* address, uint64_t bytes) {
  const uintptr_t first = reinterpret_cast<uintptr_t>(address) / 32;
  return bytes == 0 ? 0 : (reinterpret_cast<uintptr_t>(address) + bytes - 1) / 32 - first + 1;
}

}  // namespace

BlockAsync& AsyncOf(Block& block) {
  if (block.async == nullptr) {
    auto state = std::make_shared<BlockAsync>();
    block.at_end.push_back([&block] {
      for (Thread& t : block.threads) {
        if (t.pending == nullptr) continue;
        ThreadAsync& own = AsyncOf(t);
        // Copies that nobody waited for still happen.
        for (const auto& group : own.groups) {
          for (const AsyncOperation& operation : group) RunOperation(operation);
        }
        for (const AsyncOperation& operation : own.open) RunOperation(operation);
        if (!own.store_groups.empty() || !own.open_stores.empty()) {
          block.grid.Report(DefectKind::kUnfinishedCopy, &t, t.site, [] {
            return std::string("the thread returned before its bulk stores had read shared memory");
          });
        }
      }
      for (auto& [address, barrier] : AsyncOf(block).barriers) {
        if (barrier.in_flight.empty()) continue;
        const Thread& t = *barrier.in_flight.front().first.actor.thread;
        block.grid.Report(DefectKind::kUnfinishedCopy, &t, t.site, [] {
          return std::string("the block ended before a bulk load that nobody waited for");
        });
      }
    });
    block.async = state;
  }
  return *static_cast<BlockAsync*>(block.async.get());
}

ThreadAsync& AsyncOf(Thread& thread) {
  if (thread.pending == nullptr) {
    AsyncOf(*thread.block);
    thread.pending = std::make_shared<ThreadAsync>();
  }
  return *static_cast<ThreadAsync*>(thread.pending.get());
}

AsyncOperation Begin(Thread& thread, uint32_t component, uint32_t clock, bool bulk,
                     std::function<void(const Actor&)> run) {
  AsyncOperation operation;
  operation.actor = ThreadActor(thread);
  operation.actor.component = component;
  operation.actor.clock = clock;
  operation.actor.bulk = bulk;
  operation.seen = thread.seen;
  operation.run = std::move(run);
  ++thread.clock;  // what the thread does from now on is not ordered before the operation
  return operation;
}

// --- cp.async
// -------------------------------------------------------------------------------------

void StartCopy(Place to, Place from, uint32_t bytes, uint32_t fill, Site site) {
  Thread& thread = Current();
  thread.site = site;
  const uint32_t size = bytes + fill;
  if (Bad(site, size > 16 || bytes > size, "cp.async reads more than it writes")) return;
  if (to.region == nullptr || (from.region == nullptr && bytes > 0)) {
    CurrentGrid().Report(DefectKind::kNotDeviceMemory, &thread, site,
                         [] { return std::string("cp.async to or from a null address"); });
    return;
  }
  if (!IsAligned(to, size) || (bytes > 0 && !IsAligned(from, size))) {
    CurrentGrid().Report(DefectKind::kMisaligned, &thread, site, [&] {
      return fmt::format("cp.async of {} bytes between addresses that are no multiples of it",
                         size);
    });
    return;
  }
  LogAs(thread, from, size, Instruction::kAsyncCopy, false, site, fill);
  LogAs(thread, to, size, Instruction::kSharedStore, true, site);
  AsyncOf(thread).open.push_back(Begin(thread, thread.block->CopyComponent(thread.id),
                                       ++thread.copies_issued, false, [=](const Actor& actor) {
                                         unsigned char data[16] = {};
                                         if (bytes > 0)
                                           Transfer(from, bytes, Access::kRead, actor, site, data);
                                         Transfer(to, bytes + fill, Access::kWrite, actor, site,
                                                  data);
                                       }));
}

void CommitCopies() {
  ThreadAsync& own = AsyncOf(Current());
  own.groups.push_back(std::move(own.open));
  own.open.clear();
}

void WaitCopies(size_t left) {
  Thread& thread = Current();
  ThreadAsync& own = AsyncOf(thread);
  while (own.groups.size() > left) {
    for (const AsyncOperation& operation : own.groups.front()) {
      RunOperation(operation);
      thread.copies_done = std::max(thread.copies_done, operation.actor.clock);
    }
    own.groups.pop_front();
  }
}

// --- mbarrier
// -------------------------------------------------------------------------------------

void InitBarrier(Place place, uint32_t arrivals, Site site) {
  Thread& thread = Current();
  if (Bad(site, arrivals == 0 || arrivals >= (1u << 20), "an mbarrier of 0 or over 2^20 - 1"))
    return;
  // The object's bytes count as written; their value is opaque.
  if (!CheckThreadAccess(place.region, place.address, 8, 8, Access::kWrite, site)) return;
  BlockAsync& block = AsyncOf(*thread.block);
  Mbarrier& barrier = block.barriers[reinterpret_cast<uintptr_t>(place.address)];
  barrier = Mbarrier{};
  barrier.expected = arrivals;
  barrier.pending = arrivals;
  barrier.agent = block.NewAgent();
  barrier.arriving = std::make_unique<Clock>();
  barrier.arriving->block = thread.block->number;
}

void Arrive(Place place, int64_t expect, bool arrives, Site site) {
  Thread& thread = Current();
  CurrentGrid().Count(Instruction::kMbarrier);
  if (!CheckThreadAccess(place.region, place.address, 8, 8, Access::kAtomic, site)) return;
  Mbarrier* barrier = FindBarrier(place, site);
  if (barrier == nullptr) return;
  barrier->bytes += expect;
  if (!arrives) return;
  if (Bad(site, barrier->pending == 0, "more arrivals at an mbarrier than it was made for")) return;
  ReleaseInto(thread, *barrier->arriving);
  --barrier->pending;
  ++thread.block->grid.events;
  EndPhaseIfDone(*thread.block, *barrier);
}

bool TryWait(Place place, uint32_t parity, Site site) {
  Thread& thread = Current();
  const uint64_t events = thread.block->grid.events;
  if (!CheckThreadAccess(place.region, place.address, 8, 8, Access::kAtomic, site)) return true;
  thread.block->grid.events = events;  // looking changes nothing
  Mbarrier* barrier = FindBarrier(place, site);
  if (barrier == nullptr || Bad(site, parity > 1, "an mbarrier's parity is 0 or 1")) return true;
  if ((barrier->phase & 1) == parity) RunInFlight(*thread.block, *barrier);
  if ((barrier->phase & 1) == parity) return false;
  CurrentGrid().Count(Instruction::kMbarrier);
  if (barrier->completed) Acquire(thread, *barrier->completed.get());
  return true;
}

void ArriveAfterCopies(Place place, Site site) {
  // Late is when the barrier is waited for, which needs every arrival; early is allowed too.
  Thread& thread = Current();
  ThreadAsync& own = AsyncOf(thread);
  if (!own.open.empty()) CommitCopies();
  WaitCopies(0);
  Arrive(place, 0, true, site);
}

// --- Bulk copies
// ----------------------------------------------------------------------------------

void StartBulkLoad(Place to, Place from, uint32_t bytes, Place at, Site site) {
  Thread& thread = Current();
  thread.site = site;
  Mbarrier* barrier = FindBarrier(at, site);
  if (barrier == nullptr ||
      Bad(site, bytes % 16 != 0 || !IsAligned(to, 16) || !IsAligned(from, 16),
          "a bulk copy's addresses and size are multiples of 16 in device memory")) {
    return;
  }
  CountBulk(site, bytes, SectorsOf(from.address, bytes));
  barrier->in_flight.emplace_back(
      Begin(thread, thread.block->AgentComponent(barrier->agent), ++barrier->agent_clock, true,
            [=](const Actor& actor) {
              std::vector<unsigned char> data(bytes);
              Transfer(from, bytes, Access::kRead, actor, site, data.data());
              Transfer(to, bytes, Access::kWrite, actor, site, data.data());
            }),
      bytes);
}

namespace {

// One row of a box: its elements that are inside the tensor, and where the row lies in the tile.
struct BoxRow {
  Place global;
  uint32_t tile_offset = 0;
  uint32_t before = 0;  // bytes outside the tensor, then
  uint32_t inside = 0;  // bytes in it
};

std::vector<BoxRow> RowsOf(const gpu::TensorMap& map, const std::array<int, 5>& at) {
  const gpu::TensorMapShape& s = map.shape;
  const uint32_t element = gpu::ElementBytes(s.type);
  const int64_t width = static_cast<int64_t>(s.size[0]);
  const int64_t from = std::clamp<int64_t>(at[0], 0, width);
  const int64_t to = std::clamp<int64_t>(int64_t{at[0]} + s.box[0], 0, width);
  std::vector<BoxRow> rows;
  uint32_t offset = 0;
  for (uint32_t e = 0; e < s.box[4]; ++e) {
    for (uint32_t d = 0; d < s.box[3]; ++d) {
      for (uint32_t c = 0; c < s.box[2]; ++c) {
        for (uint32_t b = 0; b < s.box[1]; ++b, offset += s.box[0] * element) {
          const int64_t index[5] = {0, int64_t{at[1]} + b, int64_t{at[2]} + c, int64_t{at[3]} + d,
                                    int64_t{at[4]} + e};
          BoxRow row;
          row.tile_offset = offset;
          bool inside = to > from;
          int64_t start = from * element;
          for (uint32_t i = 1; i < 5; ++i) {
            inside = inside && index[i] >= 0 && index[i] < static_cast<int64_t>(s.size[i]);
            start += index[i] * static_cast<int64_t>(s.stride_bytes[i]);
          }
          if (inside) {
            row.before = static_cast<uint32_t>((from - at[0]) * element);
            row.inside = static_cast<uint32_t>((to - from) * element);
            row.global = {map.address + start, map.region};
          }
          rows.push_back(row);
        }
      }
    }
  }
  return rows;
}

uint32_t BoxBytes(const gpu::TensorMapShape& s) {
  uint32_t bytes = gpu::ElementBytes(s.type);
  for (const uint32_t side : s.box) bytes *= side;
  return bytes;
}

bool IsBadTensorCopy(const gpu::TensorMap& map, const Place& tile, uint32_t rank, Site site) {
  const uint32_t width = map.shape.box[0] * gpu::ElementBytes(map.shape.type);
  const uint32_t span = map.shape.swizzle == gpu::Swizzle::k128  ? 128
                        : map.shape.swizzle == gpu::Swizzle::k64 ? 64
                        : map.shape.swizzle == gpu::Swizzle::k32 ? 32
                                                                 : width;
  return Bad(site, map.region == nullptr, "a tensor map that was not made") ||
         Bad(site, rank != map.shape.rank,
             "as many coordinates as the tensor map has dimensions") ||
         Bad(site, !IsAligned(tile, 128), "a tile is 128-byte aligned in shared memory") ||
         Bad(site, width != span, "a swizzled box's rows are as wide as the swizzle (emulator)");
}

std::array<int, 5> Coordinates(const int* at, uint32_t rank) {
  std::array<int, 5> all{};
  std::copy(at, at + rank, all.begin());
  return all;
}

// Copies between the tile and `row` in 16-byte chunks, each where the swizzle puts it.
template <typename F>
void ForChunks(const Place& tile, gpu::Swizzle swizzle, const BoxRow& row, uint32_t width, F each) {
  const uintptr_t base = reinterpret_cast<uintptr_t>(tile.address) - tile.region->base();
  for (uint32_t i = 0; i < width; i += 16) {
    const auto at = gpu::SwizzleOffset(swizzle, static_cast<uint32_t>(base) + row.tile_offset + i);
    each(Place{tile.region->data() + at, tile.region}, i);
  }
}

template <typename T>
void AddElements(unsigned char* to, const unsigned char* by, uint32_t bytes) {
  for (uint32_t i = 0; i < bytes; i += sizeof(T)) {
    T a;
    T b;
    std::memcpy(&a, to + i, sizeof(T));
    std::memcpy(&b, by + i, sizeof(T));
    if constexpr (std::is_arithmetic_v<T>) {
      a = static_cast<T>(a + b);
    } else {
      a = gpu::FromFloat<T>(gpu::ToFloat(a) + gpu::ToFloat(b));
    }
    std::memcpy(to + i, &a, sizeof(T));
  }
}

void AddRow(gpu::TensorType type, unsigned char* to, const unsigned char* by, uint32_t bytes) {
  switch (type) {
    case gpu::TensorType::kU8:
      return AddElements<uint8_t>(to, by, bytes);
    case gpu::TensorType::kBf16:
      return AddElements<gpu::Bf16>(to, by, bytes);
    case gpu::TensorType::kHalf:
      return AddElements<gpu::Half>(to, by, bytes);
    case gpu::TensorType::kFloat:
      return AddElements<float>(to, by, bytes);
    case gpu::TensorType::kInt32:
      return AddElements<int32_t>(to, by, bytes);
  }
}

uint64_t SectorsOf(const std::vector<BoxRow>& rows) {
  uint64_t sectors = 0;
  for (const BoxRow& row : rows) sectors += SectorsOf(row.global.address, row.inside);
  return sectors;
}

uint64_t BytesOf(const std::vector<BoxRow>& rows) {
  uint64_t bytes = 0;
  for (const BoxRow& row : rows) bytes += row.inside;
  return bytes;
}

}  // namespace

void StartTensorLoad(Place to, const gpu::TensorMap& map, Place at, const int* c, uint32_t rank,
                     Site site) {
  Thread& thread = Current();
  Mbarrier* barrier = FindBarrier(at, site);
  if (barrier == nullptr || IsBadTensorCopy(map, to, rank, site)) return;
  const std::vector<BoxRow> rows = RowsOf(map, Coordinates(c, rank));
  CountBulk(site, BytesOf(rows), SectorsOf(rows));
  const gpu::TensorMapShape shape = map.shape;
  const uint32_t width = shape.box[0] * gpu::ElementBytes(shape.type);
  barrier->in_flight.emplace_back(
      Begin(thread, thread.block->AgentComponent(barrier->agent), ++barrier->agent_clock, true,
            [=](const Actor& actor) {
              std::vector<unsigned char> line(width);
              for (const BoxRow& row : rows) {
                std::fill(line.begin(), line.end(), 0);
                if (row.inside > 0) {
                  Transfer(row.global, row.inside, Access::kRead, actor, site,
                           line.data() + row.before);
                }
                ForChunks(to, shape.swizzle, row, width, [&](const Place& chunk, uint32_t i) {
                  Transfer(chunk, 16, Access::kWrite, actor, site, line.data() + i);
                });
              }
            }),
      BoxBytes(shape));
}

namespace {

void StartStore(Site site, std::function<void(const Actor&, const Actor&)> run) {
  Thread& thread = Current();
  ThreadAsync& own = AsyncOf(thread);
  BlockAsync& block = AsyncOf(*thread.block);
  if (own.read_agent == 0) {
    own.read_agent = 1 + block.NewAgent();
    own.write_agent = 1 + block.NewAgent();
  }
  thread.site = site;
  const uint32_t write_component = thread.block->AgentComponent(own.write_agent - 1);
  const uint32_t write_clock = ++own.write_clock;
  ThreadAsync::Store store;
  store.write_clock = write_clock;
  store.operation = Begin(thread, thread.block->AgentComponent(own.read_agent - 1),
                          ++own.read_clock, true, [=](const Actor& reader) {
                            Actor writer = reader;
                            writer.component = write_component;
                            writer.clock = write_clock;
                            run(reader, writer);
                          });
  own.open_stores.push_back(std::move(store));
}

}  // namespace

void StartBulkStore(Place to, Place from, uint32_t bytes, Site site) {
  if (Bad(site, bytes % 16 != 0 || !IsAligned(to, 16) || !IsAligned(from, 16),
          "a bulk copy's addresses and size are multiples of 16 in device memory")) {
    return;
  }
  CountBulk(site, bytes, SectorsOf(to.address, bytes));
  StartStore(site, [=](const Actor& reader, const Actor& writer) {
    std::vector<unsigned char> data(bytes);
    Transfer(from, bytes, Access::kRead, reader, site, data.data());
    Transfer(to, bytes, Access::kWrite, writer, site, data.data());
  });
}

void StartTensorStore(const gpu::TensorMap& map, Place from, const int* c, uint32_t rank, bool add,
                      Site site) {
  if (IsBadTensorCopy(map, from, rank, site)) return;
  const std::vector<BoxRow> rows = RowsOf(map, Coordinates(c, rank));
  CountBulk(site, BytesOf(rows), SectorsOf(rows));
  const gpu::TensorMapShape shape = map.shape;
  const uint32_t width = shape.box[0] * gpu::ElementBytes(shape.type);
  StartStore(site, [=](const Actor& reader, const Actor& writer) {
    std::vector<unsigned char> line(width);
    std::vector<unsigned char> sum(width);
    for (const BoxRow& row : rows) {
      ForChunks(from, shape.swizzle, row, width, [&](const Place& chunk, uint32_t i) {
        Transfer(chunk, 16, Access::kRead, reader, site, line.data() + i);
      });
      if (row.inside == 0) continue;
      unsigned char* data = line.data() + row.before;
      if (!add) {
        Transfer(row.global, row.inside, Access::kWrite, writer, site, data);
      } else if (row.global.region->Check(reinterpret_cast<uintptr_t>(row.global.address),
                                          row.inside, 0, Access::kAtomic, writer, site)) {
        AddRow(shape.type, row.global.address, data, row.inside);
      }
    }
  });
}

void CommitStores() {
  ThreadAsync& own = AsyncOf(Current());
  own.store_groups.push_back(std::move(own.open_stores));
  own.open_stores.clear();
}

void WaitStores(size_t left, bool only_reads) {
  Thread& thread = Current();
  ThreadAsync& own = AsyncOf(thread);
  Clock done;
  done.block = thread.block->number;
  while (own.store_groups.size() > left) {
    for (const ThreadAsync::Store& store : own.store_groups.front()) {
      RunOperation(store.operation);
      own.reads_done = store.operation.actor.clock;
      own.last_written = store.write_clock;
    }
    own.store_groups.pop_front();
  }
  if (own.read_agent == 0) return;
  done.Raise(thread.block->AgentComponent(own.read_agent - 1), own.reads_done);
  if (!only_reads) {
    done.Raise(thread.block->AgentComponent(own.write_agent - 1), own.last_written);
  }
  Acquire(thread, done);
}

void FenceAsyncProxy() {
  Thread& thread = Current();
  CurrentGrid().Count(Instruction::kFence);
  thread.fenced_clock = thread.clock++;
  thread.fenced_copies = thread.copies_done;
  thread.fenced_seen = thread.seen;
}

}  // namespace weft::simt

namespace weft::gpu {

uint32_t LoadAcquire(GlobalPtr<uint32_t> p, simt::Here here) {
  // Other threads and blocks may have to run before the value changes.
  simt::Poll("a flag in global memory", here.site);
  const uint64_t events = simt::CurrentGrid().events;
  const uint32_t value = atomic_internal::Update(p, here.site, [](uint32_t old) { return old; });
  simt::CurrentGrid().events = events;  // looking changes nothing
  __threadfence();
  return value;
}

void StoreRelease(GlobalPtr<uint32_t> p, uint32_t value, simt::Here here) {
  __threadfence();
  atomic_internal::Update(p, here.site, [value](uint32_t) { return value; });
}

uint32_t AddRelease(GlobalPtr<uint32_t> p, uint32_t value, simt::Here here) {
  __threadfence();
  return atomic_internal::Update(p, here.site, [value](uint32_t old) { return old + value; });
}

}  // namespace weft::gpu
