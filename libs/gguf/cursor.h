// A bounds-checked reader over the bytes of a GGUF file.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <cstring>
#include <string_view>

#include "libs/gguf/gguf.h"

namespace weft::gguf_internal {

// Bytes of one value of a fixed-size type; 0 for strings and arrays.
uint64_t FixedSize(GgufType type);

// Not thread safe. After an error the position is unspecified.
class Cursor {
 public:
  explicit Cursor(std::string_view bytes, uint64_t offset = 0) : bytes_(bytes), offset_(offset) {}

  uint64_t offset() const { return offset_; }
  uint64_t left() const { return bytes_.size() - offset_; }

  // `what` names the field in the error.
  template <typename T>
  absl::Status Read(T& out, std::string_view what) {
    if (left() < sizeof(T)) return Truncated(what, sizeof(T));
    std::memcpy(&out, bytes_.data() + offset_, sizeof(T));
    offset_ += sizeof(T);
    return absl::OkStatus();
  }
  absl::Status ReadString(std::string_view& out, uint64_t max_bytes, std::string_view what);
  absl::Status ReadType(GgufType& out, std::string_view what);
  // Element type and count of an array; the count is proven to fit into the bytes left.
  absl::Status ReadArrayHead(GgufType& element, uint64_t& count);
  // Checks and steps over `count` values. Arrays inside may nest `nesting - 1` deep.
  absl::Status SkipElements(GgufType type, uint64_t count, uint32_t nesting, std::string_view what);

 private:
  absl::Status Truncated(std::string_view what, uint64_t wanted) const;

  std::string_view bytes_;
  uint64_t offset_;
};

}  // namespace weft::gguf_internal
