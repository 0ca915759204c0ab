// A stack of its own for one emulated thread, and the switch to and from it: Boost.Context's
// fcontext where the library is there (tens of nanoseconds), else ucontext. The sanitizers are told
// of every switch.
#pragma once

#include <cstddef>
#include <memory>

namespace weft::simt {

class Fiber {
 public:
  using Entry = void (*)(Fiber& fiber);
  // `entry` runs at the first Resume() and must never return: it parks in Suspend() for good.
  explicit Fiber(Entry entry);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  void Resume();   // from the scheduler; returns at the fiber's next Suspend()
  void Suspend();  // from inside the fiber

  void* user = nullptr;  // the emulated thread that it runs

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace weft::simt
