#include "libs/gguf/gguf.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

#include "libs/base/status.h"
#include "libs/gguf/cursor.h"

namespace weft {

static_assert(std::endian::native == std::endian::little, "GGUF data is used in place");

namespace {

using gguf_internal::Cursor;

constexpr uint64_t kMaxKeyBytes = 65535;  // the format's limit
constexpr uint64_t kMaxTensorNameBytes = 256;
constexpr uint32_t kMaxDims = 4;
constexpr uint64_t kMaxAlignment = 1u << 20;
// The least that one of each takes in a file: a count beyond size / least cannot be true.
constexpr uint64_t kLeastEntryBytes = 8 + 1 + 4 + 1;
constexpr uint64_t kLeastTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;

// Keys and names go into messages: only the printable part of them, and not too much of it.
std::string Shown(std::string_view text) {
  std::string out;
  for (char c : text.substr(0, 80)) out += (c >= 0x20 && c < 0x7f) ? c : '?';
  if (text.size() > 80) out += "...";
  return out;
}

// Strings sorted once and then searched: no hash that a hostile file could make collide.
template <typename Items, typename Text>
std::vector<uint32_t> SortedBy(const Items& items, Text text) {
  std::vector<uint32_t> order(items.size());
  for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(),
            [&](uint32_t a, uint32_t b) { return text(items[a]) < text(items[b]); });
  return order;
}

template <typename Items, typename Text>
const typename Items::value_type* FindSorted(const Items& items, const std::vector<uint32_t>& order,
                                             std::string_view wanted, Text text) {
  auto it = std::lower_bound(
      order.begin(), order.end(), wanted,
      [&](uint32_t i, std::string_view w) { return std::string_view(text(items[i])) < w; });
  if (it == order.end() || std::string_view(text(items[*it])) != wanted) return nullptr;
  return &items[*it];
}

std::string_view KeyOf(const GgufFile::Entry& entry) { return entry.key; }
std::string_view NameOf(const GgufFile::Tensor& tensor) { return tensor.name; }

}  // namespace

std::string_view Name(GgufType type) {
  static constexpr std::string_view kNames[] = {"uint8",  "int8",    "uint16", "int16",  "uint32",
                                                "int32",  "float32", "bool",   "string", "array",
                                                "uint64", "int64",   "float64"};
  const auto index = static_cast<uint32_t>(type);
  return index < std::size(kNames) ? kNames[index] : "unknown";
}

class GgufFile::Parser {
 public:
  Parser(GgufFile& file, const GgufLimits& limits)
      : file_(file), limits_(limits), cursor_(file.contents_) {}

  absl::Status Run() {
    WEFT_RETURN_IF_ERROR(ReadHeader());
    WEFT_RETURN_IF_ERROR(ReadEntries());
    WEFT_RETURN_IF_ERROR(ReadAlignment());
    WEFT_RETURN_IF_ERROR(ReadTensorInfos());
    return PlaceTensors();
  }

 private:
  absl::Status ReadHeader() {
    uint32_t magic = 0;
    WEFT_RETURN_IF_ERROR(cursor_.Read(magic, "magic"));
    if (magic != 0x46554747u)
      return InvalidArgument("not a GGUF file: magic at offset 0 is {:#x}", magic);
    WEFT_RETURN_IF_ERROR(cursor_.Read(file_.version_, "version"));
    if (file_.version_ == 0x02000000u || file_.version_ == 0x03000000u) {
      return Unimplemented("big-endian GGUF (version at offset 4) is not supported");
    }
    if (file_.version_ != 2 && file_.version_ != 3) {
      return Unimplemented("GGUF version {} (at offset 4) is not supported, only 2 and 3",
                           file_.version_);
    }
    WEFT_RETURN_IF_ERROR(
        ReadCount("tensor count", limits_.max_tensors, kLeastTensorBytes, tensors_));
    return ReadCount("metadata count", limits_.max_metadata_entries, kLeastEntryBytes, entries_);
  }

  absl::Status ReadCount(std::string_view what, uint64_t limit, uint64_t least_bytes,
                         uint64_t& out) {
    const uint64_t at = cursor_.offset();
    WEFT_RETURN_IF_ERROR(cursor_.Read(out, what));
    if (out > limit) {
      return InvalidArgument("{} at offset {} is {}, the limit is {}", what, at, out, limit);
    }
    if (out > cursor_.left() / least_bytes) {
      return InvalidArgument("{} at offset {} is {}, more than the {} bytes after it can hold",
                             what, at, out, cursor_.left());
    }
    return absl::OkStatus();
  }

  absl::Status ReadEntries() {
    file_.entries_.reserve(entries_);
    for (uint64_t i = 0; i < entries_; ++i) {
      Entry entry;
      const uint64_t at = cursor_.offset();
      WEFT_RETURN_IF_ERROR(cursor_.ReadString(entry.key, kMaxKeyBytes, "metadata key"));
      if (entry.key.empty()) return InvalidArgument("metadata key {} at offset {} is empty", i, at);
      if (absl::Status status = ReadValue(entry); !status.ok()) {
        return Annotate(std::move(status), "metadata '" + Shown(entry.key) + "'");
      }
      file_.entries_.push_back(entry);
    }
    file_.entries_by_key_ = SortedBy(file_.entries_, KeyOf);
    for (size_t i = 1; i < file_.entries_by_key_.size(); ++i) {
      const Entry& a = file_.entries_[file_.entries_by_key_[i - 1]];
      const Entry& b = file_.entries_[file_.entries_by_key_[i]];
      if (a.key == b.key) {
        return InvalidArgument("metadata '{}' is given twice (values at offsets {} and {})",
                               Shown(a.key), std::min(a.offset, b.offset),
                               std::max(a.offset, b.offset));
      }
    }
    return absl::OkStatus();
  }

  absl::Status ReadValue(Entry& entry) {
    WEFT_RETURN_IF_ERROR(cursor_.ReadType(entry.type, "type"));
    if (entry.type == GgufType::kArray) {
      WEFT_RETURN_IF_ERROR(cursor_.ReadArrayHead(entry.element, entry.count));
      entry.offset = cursor_.offset();
      WEFT_RETURN_IF_ERROR(cursor_.SkipElements(entry.element, entry.count,
                                                limits_.max_array_nesting, "array element"));
    } else {
      entry.offset = cursor_.offset();
      WEFT_RETURN_IF_ERROR(cursor_.SkipElements(entry.type, 1, 0, "value"));
    }
    entry.payload = file_.contents_.substr(entry.offset, cursor_.offset() - entry.offset);
    return absl::OkStatus();
  }

  absl::Status ReadAlignment() {
    if (!file_.Has("general.alignment")) return absl::OkStatus();
    WEFT_ASSIGN_OR_RETURN(file_.alignment_, file_.GetUint("general.alignment"));
    if (!std::has_single_bit(file_.alignment_) || file_.alignment_ < 8 ||
        file_.alignment_ > kMaxAlignment) {
      return InvalidArgument(
          "metadata 'general.alignment' at offset {} is {}: it must be a power of two from 8 to {}",
          file_.Find("general.alignment")->offset, file_.alignment_, kMaxAlignment);
    }
    return absl::OkStatus();
  }

  absl::Status ReadTensorInfos() {
    // The count was proven against the whole file; now that the metadata is read, against the rest.
    if (tensors_ > cursor_.left() / kLeastTensorBytes) {
      return InvalidArgument("tensor count is {}, but only {} bytes are left at offset {}",
                             tensors_, cursor_.left(), cursor_.offset());
    }
    file_.tensors_.reserve(tensors_);
    for (uint64_t i = 0; i < tensors_; ++i) {
      std::string_view name;
      const uint64_t at = cursor_.offset();
      WEFT_RETURN_IF_ERROR(cursor_.ReadString(name, kMaxTensorNameBytes, "tensor name"));
      if (name.empty()) return InvalidArgument("name of tensor {} at offset {} is empty", i, at);
      Tensor tensor;
      tensor.name = std::string(name);
      if (absl::Status status = ReadTensorInfo(tensor); !status.ok()) {
        return Annotate(std::move(status), "tensor '" + Shown(name) + "'");
      }
      file_.tensors_.push_back(std::move(tensor));
    }
    return file_.IndexTensors();
  }

  absl::Status ReadTensorInfo(Tensor& tensor) {
    uint32_t rank = 0;
    const uint64_t rank_at = cursor_.offset();
    WEFT_RETURN_IF_ERROR(cursor_.Read(rank, "number of dimensions"));
    if (rank < 1 || rank > kMaxDims) {
      return InvalidArgument("number of dimensions at offset {} is {}: it must be 1 to {}", rank_at,
                             rank, kMaxDims);
    }
    uint64_t elements = 1;
    for (uint32_t d = 0; d < rank; ++d) {
      uint64_t extent = 0;
      const uint64_t at = cursor_.offset();
      WEFT_RETURN_IF_ERROR(cursor_.Read(extent, "dimension"));
      if (extent == 0 || extent > INT64_MAX ||
          __builtin_mul_overflow(elements, extent, &elements) || elements > INT64_MAX) {
        return InvalidArgument(
            "dimension {} at offset {} is {}: it must be at least 1 and the "
            "number of elements must fit 63 bits",
            d, at, extent);
      }
      tensor.dims.push_back(static_cast<int64_t>(extent));
    }
    uint32_t number = 0;
    const uint64_t type_at = cursor_.offset();
    WEFT_RETURN_IF_ERROR(cursor_.Read(number, "type"));
    const std::optional<DType> type = DTypeFromGguf(number);
    if (!type) {
      return Unimplemented("type at offset {} is {}, which is not a known tensor type", type_at,
                           number);
    }
    tensor.type = *type;
    const auto block_elements = static_cast<uint64_t>(BlockSize(*type));
    const auto block_bytes = static_cast<uint64_t>(BlockBytes(*type));
    if (static_cast<uint64_t>(tensor.dims[0]) % block_elements != 0) {
      return InvalidArgument("dimension 0 is {}, not a multiple of the block size {} of {}",
                             tensor.dims[0], block_elements, Name(*type));
    }
    if (__builtin_mul_overflow(elements / block_elements, block_bytes, &tensor.bytes)) {
      return InvalidArgument("its size in bytes does not fit 64 bits");
    }
    offset_fields_.push_back(cursor_.offset());
    return cursor_.Read(tensor.offset, "data offset");
  }

  // Turns offsets relative to the data section into file offsets and proves that every tensor
  // lies in the file and none overlaps another.
  absl::Status PlaceTensors() {
    if (file_.tensors_.empty()) return absl::OkStatus();
    const uint64_t size = file_.contents_.size();
    const uint64_t mask = file_.alignment_ - 1;
    const uint64_t start = (cursor_.offset() + mask) & ~mask;
    for (size_t i = 0; i < file_.tensors_.size(); ++i) {
      Tensor& tensor = file_.tensors_[i];
      if ((tensor.offset & mask) != 0) {
        return InvalidArgument(
            "tensor '{}': data offset {} (field at offset {}) is not a multiple "
            "of the alignment {}",
            Shown(tensor.name), tensor.offset, offset_fields_[i], file_.alignment_);
      }
      if (start > size || tensor.offset > size - start ||
          tensor.bytes > size - start - tensor.offset) {
        return InvalidArgument(
            "tensor '{}': {} bytes at data offset {} (field at offset {}) end "
            "beyond the file, which has {} bytes: truncated?",
            Shown(tensor.name), tensor.bytes, tensor.offset, offset_fields_[i], size);
      }
      tensor.offset += start;
      tensor.data = reinterpret_cast<const uint8_t*>(file_.contents_.data()) + tensor.offset;
    }
    std::vector<const Tensor*> by_offset;
    for (const Tensor& tensor : file_.tensors_) by_offset.push_back(&tensor);
    std::sort(by_offset.begin(), by_offset.end(),
              [](const Tensor* a, const Tensor* b) { return a->offset < b->offset; });
    for (size_t i = 1; i < by_offset.size(); ++i) {
      const Tensor& before = *by_offset[i - 1];
      if (before.offset + before.bytes > by_offset[i]->offset) {
        return InvalidArgument("tensor '{}' at file offset {} overlaps tensor '{}' at {}",
                               Shown(by_offset[i]->name), by_offset[i]->offset, Shown(before.name),
                               before.offset);
      }
    }
    return absl::OkStatus();
  }

  GgufFile& file_;
  const GgufLimits& limits_;
  Cursor cursor_;
  uint64_t tensors_ = 0;
  uint64_t entries_ = 0;
  std::vector<uint64_t> offset_fields_;  // where each tensor's offset field lies, for messages
};

absl::StatusOr<std::shared_ptr<GgufFile>> GgufFile::OpenOne(const std::string& path,
                                                            const GgufLimits& limits) {
  std::shared_ptr<GgufFile> file(new GgufFile());
  WEFT_ASSIGN_OR_RETURN(file->mapped_, MappedFile::Open(path, "model file"));
  file->contents_ = file->mapped_.contents();
  if (absl::Status status = Parser(*file, limits).Run(); !status.ok()) {
    return Annotate(std::move(status), "model file '" + path + "'");
  }
  return file;
}

absl::StatusOr<std::shared_ptr<GgufFile>> GgufFile::ParseOne(std::string bytes,
                                                             const GgufLimits& limits) {
  std::shared_ptr<GgufFile> file(new GgufFile());
  file->owned_ = std::move(bytes);
  file->contents_ = file->owned_;
  WEFT_RETURN_IF_ERROR(Parser(*file, limits).Run());
  return file;
}

absl::StatusOr<std::shared_ptr<const GgufFile>> GgufFile::FromBytes(std::string bytes,
                                                                    const GgufLimits& limits) {
  return ParseOne(std::move(bytes), limits);
}

absl::Status GgufFile::IndexTensors() {
  tensors_by_name_ = SortedBy(tensors_, NameOf);
  for (size_t i = 1; i < tensors_by_name_.size(); ++i) {
    const Tensor& a = tensors_[tensors_by_name_[i - 1]];
    if (a.name == tensors_[tensors_by_name_[i]].name) {
      return InvalidArgument("tensor '{}' is given twice", Shown(a.name));
    }
  }
  return absl::OkStatus();
}

const GgufFile::Tensor* GgufFile::FindTensor(std::string_view name) const {
  return FindSorted(tensors_, tensors_by_name_, name, NameOf);
}

const GgufFile::Entry* GgufFile::Find(std::string_view key) const {
  return FindSorted(entries_, entries_by_key_, key, KeyOf);
}

}  // namespace weft
