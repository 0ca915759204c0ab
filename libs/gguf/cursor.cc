#include "libs/gguf/cursor.h"

#include "libs/base/status.h"

namespace weft::gguf_internal {

uint64_t FixedSize(GgufType type) {
  switch (type) {
    case GgufType::kUint8:
    case GgufType::kInt8:
    case GgufType::kBool:
      return 1;
    case GgufType::kUint16:
    case GgufType::kInt16:
      return 2;
    case GgufType::kUint32:
    case GgufType::kInt32:
    case GgufType::kFloat32:
      return 4;
    case GgufType::kUint64:
    case GgufType::kInt64:
    case GgufType::kFloat64:
      return 8;
    case GgufType::kString:
    case GgufType::kArray:
      return 0;
  }
  return 0;
}

absl::Status Cursor::Truncated(std::string_view what, uint64_t wanted) const {
  return InvalidArgument(
      "{} at offset {} needs {} bytes, but the file ends {} bytes later: truncated?", what, offset_,
      wanted, left());
}

absl::Status Cursor::ReadString(std::string_view& out, uint64_t max_bytes, std::string_view what) {
  const uint64_t at = offset_;
  uint64_t length = 0;
  WEFT_RETURN_IF_ERROR(Read(length, what));
  if (length > max_bytes) {
    return InvalidArgument("length of {} at offset {} is {}, the limit is {}", what, at, length,
                           max_bytes);
  }
  if (length > left()) return Truncated(what, length);
  out = bytes_.substr(offset_, length);
  offset_ += length;
  return absl::OkStatus();
}

absl::Status Cursor::ReadType(GgufType& out, std::string_view what) {
  const uint64_t at = offset_;
  uint32_t number = 0;
  WEFT_RETURN_IF_ERROR(Read(number, what));
  if (number > static_cast<uint32_t>(GgufType::kFloat64)) {
    return InvalidArgument("{} at offset {} is {}, not a type of metadata", what, at, number);
  }
  out = static_cast<GgufType>(number);
  return absl::OkStatus();
}

absl::Status Cursor::ReadArrayHead(GgufType& element, uint64_t& count) {
  WEFT_RETURN_IF_ERROR(ReadType(element, "array element type"));
  const uint64_t at = offset_;
  WEFT_RETURN_IF_ERROR(Read(count, "array count"));
  // A string takes at least its length, an array its type and count.
  const uint64_t least = element == GgufType::kString  ? 8
                         : element == GgufType::kArray ? 12
                                                       : FixedSize(element);
  if (count > left() / least) {
    return InvalidArgument(
        "array count at offset {} is {}, more than the {} bytes after it can hold", at, count,
        left());
  }
  return absl::OkStatus();
}

absl::Status Cursor::SkipElements(GgufType type, uint64_t count, uint32_t nesting,
                                  std::string_view what) {
  if (type == GgufType::kString) {
    for (uint64_t i = 0; i < count; ++i) {
      std::string_view ignored;
      WEFT_RETURN_IF_ERROR(ReadString(ignored, left(), what));
    }
    return absl::OkStatus();
  }
  if (type == GgufType::kArray) {
    if (nesting <= 1) return InvalidArgument("arrays nest too deep at offset {}", offset_);
    for (uint64_t i = 0; i < count; ++i) {
      GgufType element{};
      uint64_t inner = 0;
      WEFT_RETURN_IF_ERROR(ReadArrayHead(element, inner));
      WEFT_RETURN_IF_ERROR(SkipElements(element, inner, nesting - 1, what));
    }
    return absl::OkStatus();
  }
  const uint64_t size = FixedSize(type);
  if (count > left() / size) return Truncated(what, size);
  if (type == GgufType::kBool) {
    for (uint64_t i = 0; i < count; ++i) {
      const auto value = static_cast<uint8_t>(bytes_[offset_ + i]);
      if (value > 1) {
        return InvalidArgument("bool at offset {} is {}: it must be 0 or 1", offset_ + i, value);
      }
    }
  }
  offset_ += count * size;
  return absl::OkStatus();
}

}  // namespace weft::gguf_internal
