#include "libs/safetensors/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>

#include "libs/base/status.h"
#include "libs/json/strict_json.h"

namespace weft {

static_assert(std::endian::native == std::endian::little, "tensors are used in place");

namespace {

using nlohmann::json;

constexpr uint64_t kLengthBytes = 8;
constexpr size_t kMaxRank = 8;

struct FileType {
  std::string_view name;
  uint64_t bytes;  // of one element
  std::optional<DType> type;
};

// Every type of the format whose elements are whole bytes: a file may hold buffers that no weight
// needs (position ids are I64), so their size has to be known.
constexpr FileType kTypes[] = {
    {"F32", 4, DType::kF32},
    {"F16", 2, DType::kF16},
    {"BF16", 2, DType::kBF16},
    {"F8_E4M3", 1, DType::kF8E4M3},
    {"F8_E5M2", 1, {}},
    {"F8_E8M0", 1, {}},
    {"BOOL", 1, {}},
    {"U8", 1, {}},
    {"I8", 1, {}},
    {"U16", 2, {}},
    {"I16", 2, {}},
    {"U32", 4, {}},
    {"I32", 4, {}},
    {"U64", 8, {}},
    {"I64", 8, {}},
    {"F64", 8, {}},
    {"C64", 8, {}},
};

const FileType* FindType(std::string_view name) {
  const auto* it = std::find_if(std::begin(kTypes), std::end(kTypes),
                                [name](const FileType& type) { return type.name == name; });
  return it == std::end(kTypes) ? nullptr : it;
}

const char* Kind(const json& value) { return value.type_name(); }

}  // namespace

std::string ShownName(std::string_view name) {
  std::string out;
  for (const char c : name.substr(0, 120)) out += (c >= 0x20 && c < 0x7f) ? c : '?';
  if (name.size() > 120) out += "...";
  return out;
}

class SafetensorsFile::Parser {
 public:
  Parser(SafetensorsFile& file, const SafetensorsLimits& limits) : file_(file), limits_(limits) {}

  absl::Status Run() {
    WEFT_ASSIGN_OR_RETURN(const json header, ReadHeader());
    for (const auto& [name, value] : header.items()) {
      if (name == "__metadata__") {
        WEFT_RETURN_IF_ERROR(ReadMetadata(value));
        continue;
      }
      Tensor tensor;
      tensor.name = name;
      if (absl::Status status = ReadTensor(value, tensor); !status.ok()) {
        return Annotate(std::move(status), "tensor '" + ShownName(name) + "'");
      }
      file_.tensors_.push_back(std::move(tensor));
    }
    if (file_.tensors_.size() > limits_.max_tensors) {
      return InvalidArgument("header: {} tensors, the limit is {}", file_.tensors_.size(),
                             limits_.max_tensors);
    }
    return CheckCover();
  }

 private:
  uint64_t data_bytes() const { return file_.contents_.size() - data_start_; }

  absl::StatusOr<json> ReadHeader() {
    const std::string_view all = file_.contents_;
    if (all.size() < kLengthBytes) {
      return InvalidArgument("header length at offset 0 needs 8 bytes, the file has {}: truncated?",
                             all.size());
    }
    uint64_t length = 0;
    std::memcpy(&length, all.data(), kLengthBytes);
    if (length > limits_.max_header_bytes) {
      return InvalidArgument("header length at offset 0 is {}, the limit is {}: not safetensors?",
                             length, limits_.max_header_bytes);
    }
    if (length > all.size() - kLengthBytes) {
      return InvalidArgument(
          "header of {} bytes at offset 8 ends beyond the file, which has {} bytes: truncated?",
          length, all.size());
    }
    const std::string_view text = all.substr(kLengthBytes, length);
    if (text.empty() || text[0] != '{') {
      return InvalidArgument("header at offset 8 does not begin with '{{': not safetensors?");
    }
    data_start_ = kLengthBytes + length;
    // A tensor takes ten values: itself, dtype, shape, offsets and their elements.
    const JsonLimits json_limits{.depth = 4, .values = limits_.max_tensors * (5 + 2 + kMaxRank)};
    absl::StatusOr<json> header = ParseStrictJson(text, json_limits);
    if (!header.ok()) return Annotate(header.status(), "header at offset 8");
    return header;
  }

  absl::Status ReadMetadata(const json& value) {
    if (!value.is_object()) {
      return InvalidArgument("__metadata__: expected an object, found {}", Kind(value));
    }
    for (const auto& [key, text] : value.items()) {
      if (!text.is_string()) {
        return InvalidArgument("__metadata__ '{}': expected a string, found {}", ShownName(key),
                               Kind(text));
      }
      file_.metadata_.emplace_back(key, text.get<std::string>());
    }
    return absl::OkStatus();
  }

  absl::Status ReadTensor(const json& value, Tensor& tensor) {
    if (tensor.name.empty() || tensor.name.size() > limits_.max_name_bytes) {
      return InvalidArgument("name: expected 1 to {} bytes, found {}", limits_.max_name_bytes,
                             tensor.name.size());
    }
    if (!value.is_object()) return InvalidArgument("expected an object, found {}", Kind(value));
    for (const auto& [key, ignored] : value.items()) {
      if (key != "dtype" && key != "shape" && key != "data_offsets") {
        return InvalidArgument("unknown field '{}'", ShownName(key));
      }
    }
    for (const char* field : {"dtype", "shape", "data_offsets"}) {
      if (!value.contains(field)) return InvalidArgument("field '{}' is missing", field);
    }
    const json& dtype = value["dtype"];
    if (!dtype.is_string())
      return InvalidArgument("dtype: expected a string, found {}", Kind(dtype));
    const FileType* type = FindType(dtype.get_ref<const std::string&>());
    if (type == nullptr) {
      return Unimplemented("dtype: '{}' is not a type that is known here",
                           ShownName(dtype.get_ref<const std::string&>()));
    }
    tensor.dtype = type->name;
    tensor.type = type->type;
    WEFT_RETURN_IF_ERROR(ReadShape(value["shape"], tensor));
    return ReadOffsets(value["data_offsets"], type->bytes, tensor);
  }

  absl::Status ReadShape(const json& shape, Tensor& tensor) {
    if (!shape.is_array())
      return InvalidArgument("shape: expected an array, found {}", Kind(shape));
    if (shape.size() > kMaxRank) {
      return InvalidArgument("shape: {} dimensions, the limit is {}", shape.size(), kMaxRank);
    }
    tensor.elements = 1;
    for (size_t i = 0; i < shape.size(); ++i) {
      if (!shape[i].is_number_unsigned() || shape[i].get<uint64_t>() > INT64_MAX) {
        return InvalidArgument("shape[{}]: expected a whole number from 0 to 2^63 - 1", i);
      }
      const auto extent = static_cast<int64_t>(shape[i].get<uint64_t>());
      tensor.shape.push_back(extent);
      if (__builtin_mul_overflow(tensor.elements, extent, &tensor.elements)) {
        return InvalidArgument("shape: the number of elements does not fit 63 bits");
      }
    }
    return absl::OkStatus();
  }

  absl::Status ReadOffsets(const json& offsets, uint64_t element_bytes, Tensor& tensor) {
    if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
        !offsets[1].is_number_unsigned()) {
      return InvalidArgument("data_offsets: expected two whole numbers that are not negative");
    }
    const uint64_t begin = offsets[0].get<uint64_t>();
    const uint64_t end = offsets[1].get<uint64_t>();
    if (begin > end || end > data_bytes()) {
      return InvalidArgument(
          "data_offsets: [{}, {}) is not inside the {} bytes after the header: truncated?", begin,
          end, data_bytes());
    }
    uint64_t expected = 0;
    if (__builtin_mul_overflow(static_cast<uint64_t>(tensor.elements), element_bytes, &expected) ||
        expected != end - begin) {
      return InvalidArgument("data_offsets: [{}, {}) has {} bytes, but {} elements of {} need {}",
                             begin, end, end - begin, tensor.elements, tensor.dtype, expected);
    }
    tensor.offset = data_start_ + begin;
    tensor.bytes = end - begin;
    tensor.data = reinterpret_cast<const uint8_t*>(file_.contents_.data()) + tensor.offset;
    return absl::OkStatus();
  }

  // The format allows neither overlaps nor holes: bytes that no tensor owns could hide anything.
  absl::Status CheckCover() const {
    std::vector<const Tensor*> by_offset;
    for (const Tensor& tensor : file_.tensors_) by_offset.push_back(&tensor);
    std::sort(by_offset.begin(), by_offset.end(), [](const Tensor* a, const Tensor* b) {
      return std::pair(a->offset, a->bytes) < std::pair(b->offset, b->bytes);
    });
    uint64_t next = data_start_;
    for (const Tensor* tensor : by_offset) {
      if (tensor->offset != next) {
        return InvalidArgument(
            "tensor '{}': data_offsets: its bytes {} (data offset {}, expected {})",
            ShownName(tensor->name),
            tensor->offset < next ? "overlap the tensor before it" : "leave a hole before them",
            tensor->offset - data_start_, next - data_start_);
      }
      next = tensor->offset + tensor->bytes;
    }
    if (next != file_.contents_.size()) {
      return InvalidArgument("the file has {} bytes that belong to no tensor, from offset {}",
                             file_.contents_.size() - next, next);
    }
    return absl::OkStatus();
  }

  SafetensorsFile& file_;
  const SafetensorsLimits& limits_;
  uint64_t data_start_ = 0;
};

absl::StatusOr<std::shared_ptr<const SafetensorsFile>> SafetensorsFile::Open(
    const std::string& path, const SafetensorsLimits& limits) {
  std::shared_ptr<SafetensorsFile> file(new SafetensorsFile());
  WEFT_ASSIGN_OR_RETURN(file->mapped_, MappedFile::Open(path, "safetensors file"));
  file->contents_ = file->mapped_.contents();
  if (absl::Status status = Parser(*file, limits).Run(); !status.ok()) {
    return Annotate(std::move(status), "safetensors file '" + path + "'");
  }
  return std::shared_ptr<const SafetensorsFile>(std::move(file));
}

absl::StatusOr<std::shared_ptr<const SafetensorsFile>> SafetensorsFile::FromBytes(
    std::string bytes, const SafetensorsLimits& limits) {
  std::shared_ptr<SafetensorsFile> file(new SafetensorsFile());
  file->owned_ = std::move(bytes);
  file->contents_ = file->owned_;
  WEFT_RETURN_IF_ERROR(Parser(*file, limits).Run());
  return std::shared_ptr<const SafetensorsFile>(std::move(file));
}

void SafetensorsFile::Release(const uint8_t* data, uint64_t bytes) const {
  if (owned_.empty()) ReleasePages(data, bytes);
}

const SafetensorsFile::Tensor* SafetensorsFile::Find(std::string_view name) const {
  const auto it = std::lower_bound(
      tensors_.begin(), tensors_.end(), name,
      [](const Tensor& tensor, std::string_view wanted) { return tensor.name < wanted; });
  return it == tensors_.end() || it->name != name ? nullptr : &*it;
}

}  // namespace weft
