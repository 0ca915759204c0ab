// Memory for repacked weights.
#pragma once

#include <cstdint>
#include <memory>

namespace weft {

// Hands out zeroed slices, aligned to 64 bytes, of large mappings backed by huge pages where the
// kernel gives them: weights are streamed once per step, and small pages cost a sixth of that
// speed. A slice keeps its mapping alive. Not thread safe; slices are.
class PageArena {
 public:
  // Null without memory.
  std::shared_ptr<uint8_t> Allocate(uint64_t bytes);

 private:
  std::shared_ptr<uint8_t> chunk_;
  uint64_t chunk_bytes_ = 0;
  uint64_t used_ = 0;
};

}  // namespace weft
