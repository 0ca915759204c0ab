// Happens-before, after Flanagan and Freund, "FastTrack" (PLDI 2009): every access has an epoch,
// and what a thread has synchronised with is a vector of the latest epochs it knows of.
//
// Within a block the vector has one component for each thread and one for each agent that works
// asynchronously on a thread's behalf (cp.async, TMA, wgmma). Of other blocks, only what came
// through fences and atomics is known.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

namespace weft::simt {

// block (28 bits) · component (12) · clock (24). Zero: never. Block numbers are unique in a process
// until they wrap, so memory need not be cleaned between blocks and launches.
using Epoch = uint64_t;

constexpr Epoch MakeEpoch(uint32_t block, uint32_t component, uint32_t clock) {
  return static_cast<uint64_t>(block) << 36 | static_cast<uint64_t>(component) << 24 | clock;
}
constexpr uint32_t BlockOf(Epoch e) { return static_cast<uint32_t>(e >> 36); }
constexpr uint32_t ComponentOf(Epoch e) { return static_cast<uint32_t>(e >> 24) & 0xfffu; }
constexpr uint32_t ClockOf(Epoch e) { return static_cast<uint32_t>(e) & 0xffffffu; }

struct Clock;

// A counted reference to a clock that no longer changes. One thread uses it: no atomics.
class ClockRef {
 public:
  ClockRef() = default;
  explicit ClockRef(Clock* clock) : clock_(clock) { Hold(); }
  ClockRef(const ClockRef& other) : clock_(other.clock_) { Hold(); }
  ClockRef(ClockRef&& other) noexcept : clock_(std::exchange(other.clock_, nullptr)) {}
  ClockRef& operator=(ClockRef other) noexcept {
    std::swap(clock_, other.clock_);
    return *this;
  }
  ~ClockRef() { Release(); }
  const Clock* get() const { return clock_; }
  const Clock* operator->() const { return clock_; }
  explicit operator bool() const { return clock_ != nullptr; }

 private:
  inline void Hold() const;
  inline void Release() const;
  Clock* clock_ = nullptr;
};

struct Clock {
  uint32_t references = 0;
  uint32_t block = 0;
  std::vector<uint32_t> at;  // by component of `block`
  std::map<uint32_t, ClockRef> others;

  bool Covers(Epoch e) const {
    if (BlockOf(e) == block) {
      return ComponentOf(e) < at.size() && at[ComponentOf(e)] >= ClockOf(e);
    }
    if (others.empty()) return false;
    const auto other = others.find(BlockOf(e));
    return other != others.end() && other->second->Covers(e);
  }

  void Raise(uint32_t component, uint32_t clock) {
    if (at.size() <= component) at.resize(component + 1);
    at[component] = std::max(at[component], clock);
  }

  // From now on this clock covers all that `other` covers.
  void Join(const Clock& other) {
    if (other.block == block) {
      if (at.size() < other.at.size()) at.resize(other.at.size());
      for (size_t i = 0; i < other.at.size(); ++i) at[i] = std::max(at[i], other.at[i]);
    } else {
      JoinOther(other);
    }
    for (const auto& [id, clock] : other.others) {
      if (id != block) {
        JoinOther(*clock.get());
      } else {
        Join(*clock.get());
      }
    }
  }

 private:
  void JoinOther(const Clock& other) {
    ClockRef& known = others[other.block];
    if (known.get() == &other) return;
    Clock* joined = new Clock;
    joined->block = other.block;
    joined->at = other.at;
    if (known) {
      if (joined->at.size() < known->at.size()) joined->at.resize(known->at.size());
      for (size_t i = 0; i < known->at.size(); ++i) {
        joined->at[i] = std::max(joined->at[i], known->at[i]);
      }
    }
    known = ClockRef(joined);
  }
};

inline void ClockRef::Hold() const {
  if (clock_ != nullptr) ++clock_->references;
}
inline void ClockRef::Release() const {
  if (clock_ != nullptr && --clock_->references == 0) delete clock_;
}

}  // namespace weft::simt
