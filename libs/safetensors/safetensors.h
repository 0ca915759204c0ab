// Reader of .safetensors files.
// Format: https://github.com/huggingface/safetensors#format
//
// A file is 8 bytes of header length (little endian), a JSON object that gives every tensor's
// dtype, shape and place, and the tensors' bytes, row-major and without gaps. The file is hostile
// until proven otherwise: the length of the header, every field, every size and the cover of the
// data section are checked when it is opened, and an error names the file, the tensor and the
// field.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/base/mapped_file.h"
#include "libs/tensor/dtype.h"

namespace weft {

// What a hostile file may make the reader do at most.
struct SafetensorsLimits {
  uint64_t max_header_bytes = 100'000'000;  // the format's own limit
  uint64_t max_tensors = 1u << 18;
  uint64_t max_name_bytes = 1024;
};

// Immutable after opening; thread safe. Tensor pointers live as long as the file. A file that is
// truncated by somebody while it is mapped raises SIGBUS on access, as with any mmap: replace model
// files by rename.
class SafetensorsFile {
 public:
  struct Tensor {
    std::string name;
    std::string_view dtype;      // as the file calls it: "BF16"
    std::optional<DType> type;   // nothing for a type that no weight may have: I64, BOOL, F64 …
    std::vector<int64_t> shape;  // row-major: the last one is contiguous; empty for a scalar
    int64_t elements = 0;        // the product of the shape; may be 0
    uint64_t offset = 0;         // of its first byte in the file
    uint64_t bytes = 0;
    const uint8_t* data = nullptr;
  };

  static absl::StatusOr<std::shared_ptr<const SafetensorsFile>> Open(
      const std::string& path, const SafetensorsLimits& limits = {});
  // The same from memory: tests, fuzzing.
  static absl::StatusOr<std::shared_ptr<const SafetensorsFile>> FromBytes(
      std::string bytes, const SafetensorsLimits& limits = {});
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  std::string_view contents() const { return contents_; }          // all bytes of the file
  const std::vector<Tensor>& tensors() const { return tensors_; }  // sorted by name
  const Tensor* Find(std::string_view name) const;                 // null when absent
  // Part of a tensor has been copied: the kernel may take back its pages (they return when
  // touched). Does nothing for a file in memory.
  void Release(const uint8_t* data, uint64_t bytes) const;
  // `__metadata__`, sorted by key.
  const std::vector<std::pair<std::string, std::string>>& metadata() const { return metadata_; }

 private:
  class Parser;
  SafetensorsFile() = default;

  std::string owned_;          // FromBytes
  MappedFile mapped_;          // Open
  std::string_view contents_;  // all bytes, whichever owns them
  std::vector<Tensor> tensors_;
  std::vector<std::pair<std::string, std::string>> metadata_;
};

// A name from a file as it may go into a message: printable and short.
std::string ShownName(std::string_view name);

}  // namespace weft
