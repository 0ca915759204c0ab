// Fences and what atomics synchronise: the rules of C++ fences (a fence before an atomic releases,
// a fence after one acquires), which PTX's fence.acq_rel.gpu and relaxed atomics follow (PTX
// ISA 8.8, "Memory Consistency Model").
#include "libs/device/simt/intrinsics.h"
#include "libs/device/simt/machine.h"

namespace weft::gpu {
namespace {

void Fence() {
  simt::Thread& thread = simt::Current();
  simt::CurrentGrid().Count(simt::Instruction::kFence);
  if (thread.from_atomics) {
    simt::Acquire(thread, *thread.from_atomics.get());
    thread.from_atomics = {};
  }
  auto* released = new simt::Clock;
  released->block = thread.block->number;
  const simt::ClockRef reference(released);
  simt::ReleaseInto(thread, *released);
  thread.at_fence = reference;
}

}  // namespace

void __threadfence() { Fence(); }
void __threadfence_block() { Fence(); }
void __threadfence_system() { Fence(); }

void atomic_internal::Synchronise(uintptr_t address) {
  simt::Thread& thread = simt::Current();
  simt::ClockRef& here = simt::CurrentGrid().atomics[address];
  if (here) {
    auto* joined = new simt::Clock;
    joined->block = thread.block->number;
    const simt::ClockRef reference(joined);
    if (thread.from_atomics) joined->Join(*thread.from_atomics.get());
    joined->Join(*here.get());
    thread.from_atomics = reference;
  }
  if (thread.at_fence) {
    if (!here) {
      here = thread.at_fence;
    } else {
      auto* joined = new simt::Clock(*here.get());
      joined->references = 0;
      const simt::ClockRef reference(joined);
      joined->Join(*thread.at_fence.get());
      here = reference;
    }
  }
}

}  // namespace weft::gpu
