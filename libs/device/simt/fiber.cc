#include "libs/device/simt/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

#include "libs/base/status.h"

#ifdef WEFT_BOOST_CONTEXT
#include <boost/context/detail/fcontext.hpp>
#else
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#define WEFT_FIBER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WEFT_FIBER_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define WEFT_FIBER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WEFT_FIBER_TSAN 1
#endif
#endif
#ifdef WEFT_FIBER_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef WEFT_FIBER_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace weft::simt {
namespace {

constexpr size_t kStackBytes = size_t{256} << 10;  // reserved; only what is touched is used

}  // namespace

struct Fiber::State {
  char* stack = nullptr;
  size_t guard = 0;
#ifdef WEFT_BOOST_CONTEXT
  boost::context::detail::fcontext_t inside = nullptr;
  boost::context::detail::fcontext_t outside = nullptr;
#else
  ucontext_t inside;
  ucontext_t outside;
#endif
#ifdef WEFT_FIBER_ASAN
  void* inside_fake = nullptr;
  void* outside_fake = nullptr;
  const void* outside_stack = nullptr;
  size_t outside_bytes = 0;
#endif
#ifdef WEFT_FIBER_TSAN
  void* inside_tsan = nullptr;
  void* outside_tsan = nullptr;
#endif
  Entry entry = nullptr;

  void Arrived() {
#ifdef WEFT_FIBER_ASAN
    __sanitizer_finish_switch_fiber(inside_fake, &outside_stack, &outside_bytes);
#endif
  }
};

namespace {

#ifndef WEFT_BOOST_CONTEXT
// makecontext() passes ints only; one emulator runs per thread.
thread_local void (*pending_start)() = nullptr;
thread_local Fiber* pending_fiber = nullptr;
#endif

}  // namespace

Fiber::Fiber(Entry entry) : state_(std::make_unique<State>()) {
  state_->entry = entry;
  state_->guard = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  void* memory = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  WEFT_CHECK(memory != MAP_FAILED);
  // An overflow of the stack faults instead of corrupting a neighbour.
  WEFT_CHECK(mprotect(memory, state_->guard, PROT_NONE) == 0);
  state_->stack = static_cast<char*>(memory);
#ifdef WEFT_BOOST_CONTEXT
  state_->inside = boost::context::detail::make_fcontext(
      state_->stack + kStackBytes, kStackBytes - state_->guard,
      [](boost::context::detail::transfer_t from) {
        Fiber* fiber = static_cast<Fiber*>(from.data);
        fiber->state_->outside = from.fctx;
        fiber->state_->Arrived();
        fiber->state_->entry(*fiber);
      });
#else
  WEFT_CHECK(getcontext(&state_->inside) == 0);
  state_->inside.uc_stack.ss_sp = state_->stack + state_->guard;
  state_->inside.uc_stack.ss_size = kStackBytes - state_->guard;
  state_->inside.uc_link = nullptr;
  pending_start = [] {
    Fiber* fiber = pending_fiber;
    fiber->state_->Arrived();
    fiber->state_->entry(*fiber);
  };
  makecontext(&state_->inside, pending_start, 0);
#endif
#ifdef WEFT_FIBER_TSAN
  state_->inside_tsan = __tsan_create_fiber(0);
#endif
}

Fiber::~Fiber() {
#ifdef WEFT_FIBER_TSAN
  __tsan_destroy_fiber(state_->inside_tsan);
#endif
#ifdef WEFT_FIBER_ASAN
  // The frames that were parked there left their red zones.
  __asan_unpoison_memory_region(state_->stack + state_->guard, kStackBytes - state_->guard);
#endif
  munmap(state_->stack, kStackBytes);
}

void Fiber::Resume() {
#ifdef WEFT_FIBER_ASAN
  __sanitizer_start_switch_fiber(&state_->outside_fake, state_->stack + state_->guard,
                                 kStackBytes - state_->guard);
#endif
#ifdef WEFT_FIBER_TSAN
  state_->outside_tsan = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(state_->inside_tsan, 0);
#endif
#ifdef WEFT_BOOST_CONTEXT
  state_->inside = boost::context::detail::jump_fcontext(state_->inside, this).fctx;
#else
  pending_fiber = this;
  swapcontext(&state_->outside, &state_->inside);
#endif
#ifdef WEFT_FIBER_ASAN
  __sanitizer_finish_switch_fiber(state_->outside_fake, nullptr, nullptr);
#endif
}

void Fiber::Suspend() {
#ifdef WEFT_FIBER_ASAN
  __sanitizer_start_switch_fiber(&state_->inside_fake, state_->outside_stack,
                                 state_->outside_bytes);
#endif
#ifdef WEFT_FIBER_TSAN
  __tsan_switch_to_fiber(state_->outside_tsan, 0);
#endif
#ifdef WEFT_BOOST_CONTEXT
  state_->outside = boost::context::detail::jump_fcontext(state_->outside, nullptr).fctx;
#else
  swapcontext(&state_->inside, &state_->outside);
#endif
  state_->Arrived();
}

}  // namespace weft::simt
