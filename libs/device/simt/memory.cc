#include "libs/device/simt/memory.h"

#include <fmt/format.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "libs/base/status.h"
#include "libs/device/simt/machine.h"

namespace weft::simt {
namespace {

constexpr size_t kAlign = 1024;
constexpr size_t kMaxReaders = 32;  // of one granule, that are concurrent with one another
constexpr int kPoison = 0xff;       // not a number as fp32, bf16, half and e4m3

struct Registry {
  std::mutex mutex;
  std::map<uintptr_t, Region*> regions;
};
Registry& Regions() {
  static Registry& registry = *new Registry;  // outlives buffers in static storage
  return registry;
}

std::atomic<uint64_t> next_block_number{1};

thread_local uint32_t first_block = 0;

bool IsStale(Epoch e) { return e == 0 || BlockOf(e) < first_block; }

const char* Verb(Access access) {
  switch (access) {
    case Access::kRead:
      return "read";
    case Access::kWrite:
      return "write";
    case Access::kAtomic:
      return "atomic";
  }
  return "?";
}

}  // namespace

void SetFirstBlock(uint32_t block) { first_block = block; }

Region* FindRegion(const void* address) {
  Registry& registry = Regions();
  const std::lock_guard lock(registry.mutex);
  const auto& regions = registry.regions;
  auto next = regions.upper_bound(reinterpret_cast<uintptr_t>(address));
  if (next == regions.begin()) return nullptr;
  Region* region = (--next)->second;
  return reinterpret_cast<uintptr_t>(address) <= region->base() + region->bytes() ? region
                                                                                  : nullptr;
}

void Region::Free::operator()(void* p) const { std::free(p); }

Region::Region(Space space, size_t bytes, std::string name)
    : space_(space), bytes_(bytes), name_(std::move(name)) {
  // At least one byte between two allocations, so that the end of one is not inside the next.
  const size_t rounded = (bytes / kAlign + 1) * kAlign;
  memory_.reset(static_cast<unsigned char*>(std::aligned_alloc(kAlign, rounded)));
  WEFT_CHECK(memory_ != nullptr);
  base_ = reinterpret_cast<uintptr_t>(memory_.get());
  std::memset(memory_.get(), kPoison, rounded);
  MakeShadow();
}

Region::Region(void* memory, size_t bytes, std::string name)
    : space_(Space::kGlobal),
      bytes_(bytes),
      name_(std::move(name)),
      base_(reinterpret_cast<uintptr_t>(memory)) {
  MakeShadow();
  std::memset(initialised_.get(), 1, bytes);
}

void Region::MakeShadow() {
  initialised_.reset(static_cast<uint8_t*>(std::calloc(bytes_ + 1, 1)));
  WEFT_CHECK(initialised_ != nullptr);
  cell_count_ = (bytes_ >> shift_) + 1;
  cells_.reset(static_cast<Cell*>(std::calloc(cell_count_, sizeof(Cell))));
  WEFT_CHECK(cells_ != nullptr);
  if (space_ != Space::kGlobal) return;
  Registry& registry = Regions();
  const std::lock_guard lock(registry.mutex);
  registry.regions[base_] = this;
}

Region::~Region() {
  if (space_ != Space::kGlobal) return;
  Registry& registry = Regions();
  const std::lock_guard lock(registry.mutex);
  registry.regions.erase(base_);
}

uint32_t TakeBlockNumbers(uint64_t count) {
  // 28 bits hold a number. After that many blocks the oldest accesses would look current.
  const uint64_t first = next_block_number.fetch_add(count);
  WEFT_CHECK(first + count < (uint64_t{1} << 28));
  return static_cast<uint32_t>(first);
}

void Region::SetInitialised(size_t offset, size_t bytes, bool value) {
  std::memset(initialised_.get() + offset, value ? 1 : 0, bytes);
  if (!value) std::memset(data() + offset, kPoison, bytes);
}

bool Region::IsInitialised(size_t offset, size_t bytes) const {
  return std::memchr(initialised_.get() + offset, 0, bytes) == nullptr;
}

// Halves the granule until an access of 1 << shift bytes has cells of its own.
void Region::Refine(uint32_t shift) {
  const uint32_t times = shift_ - shift;
  const size_t count = (bytes_ >> shift) + 1;
  std::unique_ptr<Cell, Free> finer(static_cast<Cell*>(std::calloc(count, sizeof(Cell))));
  WEFT_CHECK(finer != nullptr);
  for (size_t i = 0; i < count && (i >> times) < cell_count_; ++i) {
    Cell& from = cells_.get()[i >> times];
    if (from.write == 0 && from.atomic == 0 && from.read == 0) continue;
    Cell& to = finer.get()[i];
    to = from;
    if (from.readers != 0 && (i & ((1u << times) - 1)) != 0) {
      readers_.push_back(readers_[from.readers - 1]);
      to.readers = static_cast<uint32_t>(readers_.size());
    }
  }
  cells_ = std::move(finer);
  cell_count_ = count;
  shift_ = shift;
}

bool Region::Check(uintptr_t address, uint32_t bytes, uint32_t align, Access access,
                   const Actor& actor, Site site) {
  Grid& grid = CurrentGrid();
  if (address < base_ || address - base_ > bytes_ || bytes_ - (address - base_) < bytes) {
    grid.Report(DefectKind::kOutOfBounds, actor.thread, site, [&] {
      return fmt::format("{} of {} bytes at offset {} of {} ({} bytes)", Verb(access), bytes,
                         static_cast<int64_t>(address - base_), name_, bytes_);
    });
    return false;
  }
  const size_t offset = address - base_;
  if (align > 1 && offset % align != 0) {  // the base is aligned to more than any access needs
    grid.Report(DefectKind::kMisaligned, actor.thread, site, [&] {
      return fmt::format("{} of {} bytes at offset {} of {}, not a multiple of {}", Verb(access),
                         bytes, offset, name_, align);
    });
    return false;
  }
  if (access != Access::kWrite && !IsInitialised(offset, bytes)) {
    grid.Report(DefectKind::kUninitialised, actor.thread, site, [&] {
      return fmt::format("{} of {} bytes at offset {} of {}, which nothing wrote", Verb(access),
                         bytes, offset, name_);
    });
  }
  if (access != Access::kRead) {
    std::memset(initialised_.get() + offset, 1, bytes);
    ++grid.events;
  }
  if (grid.options.races) Track(offset, bytes, access, actor, site);
  return true;
}

void Region::Race(const char* before, Epoch other, size_t offset, Access access, const Actor& actor,
                  Site site) const {
  CurrentGrid().Report(DefectKind::kRace, actor.thread, site, [&] {
    return fmt::format("{}{} at offset {} of {} is not ordered after a {} by {}",
                       actor.bulk ? "asynchronous " : "", Verb(access), offset, name_, before,
                       CurrentGrid().Describe(other));
  });
}

void Region::AddReader(Cell& cell, const Actor& actor) {
  const Epoch epoch = actor.epoch();
  if (cell.read == epoch) return;
  if (IsStale(cell.read) || actor.Covers(cell.read)) {
    // Everything ordered after this read is ordered after that one. The others stay.
    cell.read = epoch;
    return;
  }
  if (cell.readers == 0) {
    readers_.emplace_back();
    cell.readers = static_cast<uint32_t>(readers_.size());
  }
  std::vector<Epoch>& list = readers_[cell.readers - 1];
  for (Epoch& e : list) {
    if (IsStale(e) || actor.Covers(e)) {
      e = cell.read;
      cell.read = epoch;
      return;
    }
  }
  if (list.size() < kMaxReaders) {
    list.push_back(cell.read);
    cell.read = epoch;
  }
}

void Region::Track(size_t offset, uint32_t bytes, Access access, const Actor& actor, Site site) {
  uint32_t shift = shift_;
  while (shift > 0 && ((offset | bytes) & ((1u << shift) - 1)) != 0) --shift;
  if (shift != shift_) Refine(shift);
  const size_t first = offset >> shift_;
  const size_t last = (offset + bytes - 1) >> shift_;
  for (size_t i = first; i <= last; ++i) {
    Cell& cell = cells_.get()[i];
    if (!IsStale(cell.write)) {
      if (!actor.Covers(cell.write)) {
        Race("write", cell.write, i << shift_, access, actor, site);
      } else if (actor.bulk && access == Access::kRead && space_ == Space::kShared &&
                 !CurrentGrid().IsFenced(actor, cell.write)) {
        CurrentGrid().Report(DefectKind::kMissingProxyFence, actor.thread, site, [&] {
          return fmt::format(
              "asynchronous read at offset {} of {}, which {} wrote without "
              "fence.proxy.async after it",
              i << shift_, name_, CurrentGrid().Describe(cell.write));
        });
      }
    }
    if (access != Access::kAtomic && !IsStale(cell.atomic) && !actor.Covers(cell.atomic)) {
      Race("atomic", cell.atomic, i << shift_, access, actor, site);
    }
    if (access == Access::kRead) {
      AddReader(cell, actor);
      continue;
    }
    if (!IsStale(cell.read)) {
      if (!actor.Covers(cell.read)) Race("read", cell.read, i << shift_, access, actor, site);
      if (cell.readers != 0) {
        for (const Epoch e : readers_[cell.readers - 1]) {
          if (!IsStale(e) && !actor.Covers(e)) {
            Race("read", e, i << shift_, access, actor, site);
            break;
          }
        }
      }
    }
    if (access == Access::kWrite) {
      cell.write = actor.epoch();
      cell.atomic = 0;
      cell.read = 0;
      if (cell.readers != 0) readers_[cell.readers - 1].clear();
    } else {
      cell.atomic = actor.epoch();
    }
  }
}

}  // namespace weft::simt
