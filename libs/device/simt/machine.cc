#include "libs/device/simt/machine.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <numeric>

namespace weft::simt {

thread_local Thread* current_thread = nullptr;

namespace {

constexpr size_t kMaxDefects = 64;

thread_local Grid* current_grid = nullptr;

// Fibers that run no thread, kept from launch to launch.
std::vector<std::unique_ptr<Fiber>>& IdleFibers() {
  static thread_local std::vector<std::unique_ptr<Fiber>> fibers;
  return fibers;
}

// Unwinds a thread whose launch was aborted.
struct Stopped {};

// Each fiber runs one emulated thread after another.
void RunThreads(Fiber& fiber) {
  for (;;) {
    Thread& thread = *static_cast<Thread*>(fiber.user);
    try {
      if (!thread.block->grid.aborting) thread.block->grid.body();
    } catch (const Stopped&) {
    }
    thread.state = State::kDone;
    fiber.Suspend();
  }
}

void Suspend(State state, const char* what, Site site) {
  Thread& thread = Current();
  if (thread.block->grid.aborting) {
    if (std::uncaught_exceptions() > 0) return;
    throw Stopped{};
  }
  thread.state = state;
  thread.waits_for = what;
  thread.site = site;
  thread.fiber->Suspend();
  if (thread.block->grid.aborting && std::uncaught_exceptions() == 0) throw Stopped{};
}

}  // namespace

Grid& CurrentGrid() { return *current_grid; }

void Wait(const char* what, Site site) { Suspend(State::kWaiting, what, site); }
void Poll(const char* what, Site site) { Suspend(State::kPolling, what, site); }

Actor ThreadActor(const Thread& thread) {
  Actor actor;
  actor.thread = &thread;
  actor.block = thread.block->number;
  actor.component = actor.self = thread.id;
  actor.clock = actor.self_clock = thread.clock;
  actor.copies = thread.block->CopyComponent(thread.id);
  actor.copies_done = thread.copies_done;
  actor.seen = thread.seen.get();
  return actor;
}

void ReleaseInto(Thread& thread, Clock& to) {
  if (thread.seen) to.Join(*thread.seen.get());
  if (to.block == thread.block->number) {
    to.Raise(thread.id, thread.clock);
    to.Raise(thread.block->CopyComponent(thread.id), thread.copies_done);
  } else {
    Clock own;
    own.block = thread.block->number;
    own.Raise(thread.id, thread.clock);
    own.Raise(thread.block->CopyComponent(thread.id), thread.copies_done);
    to.Join(own);
  }
  ++thread.clock;
}

void Acquire(Thread& thread, const Clock& from) {
  Clock* joined = new Clock;
  joined->block = thread.block->number;
  if (thread.seen) joined->Join(*thread.seen.get());
  joined->Join(from);
  thread.seen = ClockRef(joined);
}

// --- Block
// ----------------------------------------------------------------------------------------

Block::Block(Grid& owner, gpu::uint3 at, uint32_t unique_number)
    : grid(owner), index(at), number(unique_number) {
  const gpu::dim3& dim = grid.block_dim;
  threads.resize(static_cast<size_t>(dim.x) * dim.y * dim.z);
  warps.resize((threads.size() + 31) / 32);
  for (uint32_t i = 0; i < threads.size(); ++i) {
    Thread& t = threads[i];
    t.index = {i % dim.x, i / dim.x % dim.y, i / dim.x / dim.y};
    t.block = this;
    t.id = i;
    t.lane = i % 32;
  }
  order_.resize(threads.size());
  std::iota(order_.begin(), order_.end(), 0u);
  if (grid.options.seed != 0) {
    uint64_t state = grid.options.seed * 0x9e3779b97f4a7c15u + number;
    for (size_t i = order_.size(); i > 1; --i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      std::swap(order_[i - 1], order_[(state >> 33) % i]);
    }
  }
  if (grid.dynamic_bytes > 0) {
    dynamic_shared =
        std::make_shared<Region>(Space::kShared, grid.dynamic_bytes, "dynamic shared memory");
  }
}

Block::~Block() = default;

bool Block::RunOnce() {
  bool progress = false;
  for (const uint32_t i : order_) {
    Thread& t = threads[i];
    // A thread that only waits for lanes of its own warp goes on before others start.
    while (t.state == State::kNew || t.state == State::kReady || t.state == State::kPolling) {
      const bool polled = t.state == State::kPolling;
      if (t.state == State::kNew) {
        if (IdleFibers().empty()) {
          t.fiber = std::make_unique<Fiber>(RunThreads);
        } else {
          t.fiber = std::move(IdleFibers().back());
          IdleFibers().pop_back();
        }
        t.fiber->user = &t;
      }
      const uint64_t events = grid.events;
      t.state = State::kReady;
      current_thread = &t;
      t.fiber->Resume();
      current_thread = nullptr;
      if (!polled || t.state != State::kPolling || events != grid.events) progress = true;
      if (t.state == State::kDone) {
        IdleFibers().push_back(std::move(t.fiber));
        ++done_;
        ++grid.events;
        if (at_barrier_ > 0) ReleaseBarrier();
      }
      if (t.state == State::kPolling) break;
    }
  }
  return progress;
}

void Block::Barrier(Site site) {
  if (at_barrier_ == 0) {
    barrier_site_ = site;
    barrier_diverges_ = false;
  } else if (barrier_site_.line != site.line || std::strcmp(barrier_site_.file, site.file) != 0) {
    if (!barrier_diverges_) {
      grid.Report(DefectKind::kDivergentBarrier, &Current(), site, [&] {
        return fmt::format("__syncthreads() while other threads of the block wait at {}:{}",
                           barrier_site_.file, barrier_site_.line);
      });
    }
    barrier_diverges_ = true;
  }
  ++at_barrier_;
  Current().state = State::kWaiting;
  Current().waits_for = "__syncthreads";
  ReleaseBarrier();
  // The last to arrive goes on at once.
  if (Current().state == State::kWaiting) Wait("__syncthreads", site);
}

void Block::ReleaseBarrier() {
  if (at_barrier_ + done_ < threads.size()) return;
  if (done_ > 0 && !barrier_diverges_ && !grid.aborting) {
    grid.Report(DefectKind::kDivergentBarrier, nullptr, barrier_site_, [&] {
      return fmt::format("__syncthreads() after {} of {} threads had returned", done_,
                         threads.size());
    });
  }
  FlushLogs();
  grid.Count(Instruction::kBlockBarrier);
  ++grid.events;
  Clock* joined = new Clock;
  joined->block = number;
  joined->at.resize(2 * threads.size());
  const ClockRef all(joined);
  const Clock* last = nullptr;
  for (Thread& t : threads) {
    if (t.seen && t.seen.get() != last) {
      last = t.seen.get();
      joined->Join(*last);
    }
    joined->at[t.id] = std::max(joined->at[t.id], t.clock);
    joined->at[CopyComponent(t.id)] = std::max(joined->at[CopyComponent(t.id)], t.copies_done);
  }
  at_barrier_ = 0;
  for (Thread& t : threads) {
    if (t.state != State::kWaiting || std::strcmp(t.waits_for, "__syncthreads") != 0) continue;
    t.seen = all;
    ++t.clock;
    t.state = State::kReady;
  }
}

void Block::NamedBarrierArrive(uint32_t id, uint32_t count, bool wait, Site site) {
  if (id > 15 || count == 0 || count % 32 != 0 || count > 1024) {
    grid.Report(DefectKind::kBadArgument, &Current(), site, [&] {
      return fmt::format(
          "named barrier {} of {} threads: the number is at most 15, the count a "
          "multiple of 32",
          id, count);
    });
    return;
  }
  NamedBarrier& barrier = named[id];
  if (barrier.arrived == 0) {
    barrier.expected = count;
    barrier.joined = std::make_unique<Clock>();
    barrier.joined->block = number;
    grid.Count(Instruction::kNamedBarrier);
  } else if (barrier.expected != count) {
    grid.Report(DefectKind::kDivergentBarrier, &Current(), site, [&] {
      return fmt::format("named barrier {}: {} threads expected here, {} elsewhere", id, count,
                         barrier.expected);
    });
  }
  ++barrier.arrived;
  ++grid.events;
  ReleaseInto(Current(), *barrier.joined);
  if (wait) barrier.waiting.push_back(&Current());
  if (barrier.arrived < barrier.expected) {
    if (wait) Wait("named barrier", site);
    return;
  }
  Clock* joined = new Clock(*barrier.joined);
  joined->references = 0;
  const ClockRef all(joined);
  for (Thread* t : barrier.waiting) {
    t->seen = all;
    if (t->state == State::kWaiting) t->state = State::kReady;
  }
  named.erase(id);
}

Region* Block::StaticShared(const void* key, size_t bytes) {
  std::shared_ptr<Region>& region = static_shared[key];
  if (region == nullptr) {
    region = std::make_shared<Region>(Space::kShared, bytes, "static shared memory");
    size_t sum = grid.dynamic_bytes;
    for (const auto& [k, r] : static_shared) sum += r->bytes();
    grid.report.shared_bytes = std::max(grid.report.shared_bytes, static_cast<uint32_t>(sum));
  }
  return region.get();
}

void Block::FlushLogs() {
  for (Warp& warp : warps) warp.log.Flush(grid.sites, grid.report.instructions);
}

// --- Grid
// -----------------------------------------------------------------------------------------

Grid::Grid(const char* kernel, gpu::dim3 grid, gpu::dim3 block, uint32_t shared,
           std::function<void()> function, const Options& with)
    : grid_dim(grid),
      block_dim(block),
      dynamic_bytes(shared),
      body(std::move(function)),
      options(with) {
  report.kernel = kernel == nullptr ? "kernel" : kernel;
  report.grid = grid;
  report.block = block;
  report.shared_bytes = shared;
}

Grid::~Grid() = default;

gpu::uint3 Grid::BlockIndex(uint64_t i) const {
  return {static_cast<uint32_t>(i % grid_dim.x), static_cast<uint32_t>(i / grid_dim.x % grid_dim.y),
          static_cast<uint32_t>(i / grid_dim.x / grid_dim.y)};
}

void Grid::Run() {
  Grid* const outer = std::exchange(current_grid, this);
  Thread* const outer_thread = std::exchange(current_thread, nullptr);
  const uint64_t total = static_cast<uint64_t>(grid_dim.x) * grid_dim.y * grid_dim.z;
  const uint64_t threads = static_cast<uint64_t>(block_dim.x) * block_dim.y * block_dim.z;
  if (total == 0 || threads == 0 || threads > 1024 || dynamic_bytes > options.max_shared_bytes) {
    AddDefect(DefectKind::kBadArgument, nullptr, {},
              fmt::format("a grid of {} blocks of {} threads with {} bytes of shared memory: at "
                          "most 1024 threads and {} bytes",
                          total, threads, dynamic_bytes, options.max_shared_bytes));
    current_grid = outer;
    current_thread = outer_thread;
    return;
  }
  first_number_ = TakeBlockNumbers(total);
  SetFirstBlock(first_number_);
  uint64_t started = 0;
  while (started < total || !active_.empty()) {
    bool progress = false;
    for (size_t i = 0; i < active_.size();) {
      if (active_[i]->RunOnce()) progress = true;
      if (active_[i]->done()) {
        for (const auto& check : active_[i]->at_end) check();
        active_[i]->FlushLogs();
        active_.erase(active_.begin() + static_cast<std::ptrdiff_t>(i));
      } else {
        ++i;
      }
    }
    if (progress && !active_.empty()) continue;
    if (started < total && active_.size() < options.resident_blocks && !aborting) {
      active_.push_back(std::make_unique<Block>(*this, BlockIndex(started),
                                                first_number_ + static_cast<uint32_t>(started)));
      ++started;
      continue;
    }
    if (active_.empty()) break;
    Deadlock();
    break;
  }
  report.sites = sites.Take();
  current_grid = outer;
  current_thread = outer_thread;
}

void Grid::Deadlock() {
  for (const auto& block : active_) {
    for (const Thread& t : block->threads) {
      if (t.state == State::kDone) continue;
      Report(DefectKind::kDeadlock, &t, t.site,
             [&] { return fmt::format("waits for ever: {}", t.waits_for); });
    }
  }
  Abort();
  for (const auto& block : active_) Unwind(*block);
  active_.clear();
}

void Grid::Unwind(Block& block) {
  for (Thread& t : block.threads) {
    if (t.state == State::kDone || t.fiber == nullptr) continue;
    current_thread = &t;
    t.fiber->Resume();
    current_thread = nullptr;
    IdleFibers().push_back(std::move(t.fiber));
  }
}

Defect* Grid::FindDefect(DefectKind kind, Site site) {
  for (Defect& d : report.defects) {
    if (d.kind == kind && d.site.line == site.line &&
        (d.site.file == site.file || (d.site.file != nullptr && site.file != nullptr &&
                                      std::strcmp(d.site.file, site.file) == 0))) {
      return &d;
    }
  }
  return report.defects.size() < kMaxDefects ? nullptr : &report.defects.back();
}

void Grid::AddDefect(DefectKind kind, const Thread* thread, Site site, std::string message) {
  Defect defect;
  defect.kind = kind;
  defect.site = site;
  defect.message = std::move(message);
  if (thread != nullptr) {
    defect.block = thread->block->index;
    defect.thread = thread->index;
  }
  report.defects.push_back(std::move(defect));
}

std::string Grid::Describe(Epoch epoch) const {
  const gpu::uint3 b = BlockIndex(BlockOf(epoch) - first_number_);
  const uint32_t threads = block_dim.x * block_dim.y * block_dim.z;
  const uint32_t c = ComponentOf(epoch);
  if (c >= 2 * threads)
    return fmt::format("an asynchronous copy of block ({},{},{})", b.x, b.y, b.z);
  const uint32_t t = c % threads;
  return fmt::format("{}thread ({},{},{}) of block ({},{},{})", c >= threads ? "cp.async of " : "",
                     t % block_dim.x, t / block_dim.x % block_dim.y, t / block_dim.x / block_dim.y,
                     b.x, b.y, b.z);
}

bool Grid::IsFenced(const Actor& actor, Epoch epoch) const {
  const Block& block = *actor.thread->block;
  const uint32_t threads = static_cast<uint32_t>(block.threads.size());
  const uint32_t c = ComponentOf(epoch);
  if (c >= 2 * threads) return true;  // the asynchronous proxy wrote it itself
  const Thread& writer = block.threads[c % threads];
  const uint32_t fenced = c < threads ? writer.fenced_clock : writer.fenced_copies;
  if (ClockOf(epoch) <= fenced) return true;
  const Thread& reader = *actor.thread;
  return reader.fenced_seen && reader.fenced_seen->Covers(epoch);
}

// --- Warp operations
// ------------------------------------------------------------------------------

WarpOperation::WarpOperation(uint32_t mask, const char* operation, Instruction instruction,
                             const void* operand, size_t bytes, Site site, bool orders_memory) {
  Thread& thread = Current();
  Block& block = *thread.block;
  Grid& grid = block.grid;
  Warp& warp = block.warps[thread.id / 32];
  const uint32_t bit = 1u << thread.lane;
  if ((mask & bit) == 0) {
    grid.Report(DefectKind::kWarpMismatch, &thread, site, [&] {
      return fmt::format("lane {} runs {} with mask {:08x}, which does not hold it", thread.lane,
                         operation, mask);
    });
    mask |= bit;
  }
  // The last warp of a block may be partial.
  const uint32_t first = thread.id & ~31u;
  const size_t present = std::min<size_t>(32, block.threads.size() - first);
  if (present < 32) mask &= (1u << present) - 1;
  meeting_ = nullptr;
  for (const auto& m : warp.meetings) {
    if (m->arrived != m->mask && (m->arrived & bit) == 0 && (m->mask & mask) != 0 &&
        m->mask == mask) {
      meeting_ = m.get();
      break;
    }
  }
  if (meeting_ == nullptr) {
    for (const auto& m : warp.meetings) {
      if (m->left == m->mask) meeting_ = m.get();
    }
    if (meeting_ == nullptr) {
      warp.meetings.push_back(std::make_unique<Rendezvous>());
      meeting_ = warp.meetings.back().get();
    }
    meeting_->mask = mask;
    meeting_->arrived = meeting_->left = 0;
    meeting_->operation = operation;
  } else if (std::strcmp(meeting_->operation, operation) != 0) {
    grid.Report(DefectKind::kWarpMismatch, &thread, site, [&] {
      return fmt::format("{} where other lanes of mask {:08x} run {}", operation, mask,
                         meeting_->operation);
    });
  }
  meeting_->arrived |= bit;
  if (bytes > 0) std::memcpy(meeting_->slot[thread.lane], operand, bytes);
  if (meeting_->arrived != mask) {
    Wait(operation, site);
    return;
  }
  if (instruction != Instruction::kCount) grid.Count(instruction);
  ++grid.events;
  if (orders_memory) {
    Clock* joined = new Clock;
    joined->block = block.number;
    const ClockRef all(joined);
    const Clock* last = nullptr;
    for (uint32_t lane = 0; lane < 32; ++lane) {
      if ((mask >> lane & 1) == 0) continue;
      Thread& t = block.threads[first + lane];
      if (t.seen && t.seen.get() != last) {
        last = t.seen.get();
        joined->Join(*last);
      }
      joined->Raise(t.id, t.clock++);
      joined->Raise(block.CopyComponent(t.id), t.copies_done);
    }
    for (uint32_t lane = 0; lane < 32; ++lane) {
      if ((mask >> lane & 1) != 0) block.threads[first + lane].seen = all;
    }
  }
  for (uint32_t lane = 0; lane < 32; ++lane) {
    if ((mask >> lane & 1) == 0 || lane == thread.lane) continue;
    block.threads[first + lane].state = State::kReady;
  }
  if (mask == (present < 32 ? (1u << present) - 1 : ~0u)) {
    warp.log.Flush(grid.sites, grid.report.instructions);
  }
}

WarpOperation::~WarpOperation() { meeting_->left |= 1u << Current().lane; }

}  // namespace weft::simt
