#include "libs/tensor/storage.h"

#include <sys/mman.h>

#include <algorithm>

namespace weft {
namespace {

constexpr uint64_t kHugePage = uint64_t{2} << 20;
// Address space only: memory is taken by what is written. Of each chunk the last huge page is taken
// whole, so there should be few.
constexpr uint64_t kChunkBytes = uint64_t{256} << 20;

// A mapping that begins on a huge page, or null.
std::shared_ptr<uint8_t> Map(uint64_t bytes) {
  // Room to move the beginning up; what lies before and after is given back.
  const uint64_t reserved = bytes + kHugePage;
  void* memory = mmap(nullptr, reserved, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  auto* base = static_cast<uint8_t*>(memory);
  const auto address = reinterpret_cast<uintptr_t>(base);
  const uint64_t before = (kHugePage - address % kHugePage) % kHugePage;
  if (before > 0) munmap(base, before);
  if (before < kHugePage) munmap(base + before + bytes, kHugePage - before);
  uint8_t* begin = base + before;
  madvise(begin, bytes, MADV_HUGEPAGE);  // a wish: small pages work too
  return std::shared_ptr<uint8_t>(begin, [bytes](uint8_t* p) { munmap(p, bytes); });
}

}  // namespace

std::shared_ptr<uint8_t> PageArena::Allocate(uint64_t bytes) {
  if (bytes > (uint64_t{1} << 62)) return nullptr;
  const uint64_t wanted = (bytes + 63) / 64 * 64;
  if (chunk_ == nullptr || chunk_bytes_ - used_ < wanted) {
    const uint64_t size = std::max(kChunkBytes, (wanted + kHugePage - 1) / kHugePage * kHugePage);
    std::shared_ptr<uint8_t> chunk = Map(size);
    if (chunk == nullptr) return nullptr;
    // Something larger than a chunk gets its own; the open chunk stays for what comes after.
    if (size > kChunkBytes) return chunk;
    chunk_ = std::move(chunk);
    chunk_bytes_ = size;
    used_ = 0;
  }
  uint8_t* slice = chunk_.get() + used_;
  used_ += wanted;
  return {chunk_, slice};
}

}  // namespace weft
