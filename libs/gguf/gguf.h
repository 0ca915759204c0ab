// Reader of GGUF files, versions 2 and 3, little endian.
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
//
// A file is hostile until proven otherwise: every count, string length and offset is checked
// against the bytes that are really there before anything is allocated or read, and an error
// names the field and its offset in the file.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/mapped_file.h"
#include "libs/tensor/dtype.h"

namespace weft {

// The type numbers of metadata values.
enum class GgufType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};
std::string_view Name(GgufType type);

// What a hostile file may make the reader do at most.
struct GgufLimits {
  uint64_t max_metadata_entries = 1u << 16;
  uint64_t max_tensors = 1u << 20;
  uint32_t max_array_nesting = 4;  // an array of numbers has nesting 1
  uint64_t max_parts = 1000;       // of a split model
};

// Immutable after opening; thread safe. String views and tensor pointers live as long as the
// GgufFile. A file that is truncated by somebody while it is mapped raises SIGBUS on access, as
// with any mmap: replace model files by rename.
class GgufFile {
 public:
  struct Tensor {
    std::string name;
    DType type;
    std::vector<int64_t> dims;  // GGUF order: dims[0] is contiguous in memory
    uint64_t offset;            // of its first byte in its file
    uint64_t bytes;
    const uint8_t* data;
  };

  // One metadata entry, still serialised. For an array, `element` and `count` describe it.
  struct Entry {
    std::string_view key;
    GgufType type;
    std::string_view payload;  // without key and type; of an array without element type and count
    uint64_t offset;           // of the payload in the file
    GgufType element = GgufType::kUint8;
    uint64_t count = 0;
  };

  // The first part of a split model ("…-00001-of-00003.gguf") brings the others, which lie beside
  // it: the result has the first part's metadata and the tensors of all. NOT_FOUND names a part
  // that is missing; another part than the first is refused with the name of the first.
  static absl::StatusOr<std::shared_ptr<const GgufFile>> Open(const std::string& path,
                                                              const GgufLimits& limits = {});
  // The same from memory: metadata that came over the network, tests, fuzzing.
  static absl::StatusOr<std::shared_ptr<const GgufFile>> FromBytes(std::string bytes,
                                                                   const GgufLimits& limits = {});
  // A split model from memory.
  static absl::StatusOr<std::shared_ptr<const GgufFile>> FromParts(std::vector<std::string> parts,
                                                                   const GgufLimits& limits = {});
  GgufFile(const GgufFile&) = delete;
  GgufFile& operator=(const GgufFile&) = delete;

  uint32_t version() const { return version_; }
  // The bytes of every file, the first part's first; their sum.
  std::vector<std::string_view> contents() const;
  uint64_t file_bytes() const;
  uint64_t alignment() const { return alignment_; }

  const std::vector<Tensor>& tensors() const { return tensors_; }  // in file order, part by part
  const Tensor* FindTensor(std::string_view name) const;           // null when absent

  const std::vector<Entry>& entries() const { return entries_; }  // in file order
  const Entry* Find(std::string_view key) const;                  // null when absent
  bool Has(std::string_view key) const { return Find(key) != nullptr; }

  // Typed access. A missing key is NOT_FOUND, a value of another type or out of the range is
  // INVALID_ARGUMENT; both name the key. Any integer type converts when the value fits; GetFloat
  // takes both float widths. Array getters decode the whole array.
  absl::StatusOr<uint64_t> GetUint(std::string_view key) const;
  absl::StatusOr<int64_t> GetInt(std::string_view key) const;
  absl::StatusOr<double> GetFloat(std::string_view key) const;
  absl::StatusOr<bool> GetBool(std::string_view key) const;
  absl::StatusOr<std::string_view> GetString(std::string_view key) const;
  absl::StatusOr<std::vector<std::string_view>> GetStringArray(std::string_view key) const;
  absl::StatusOr<std::vector<int64_t>> GetIntArray(std::string_view key) const;
  absl::StatusOr<std::vector<double>> GetFloatArray(std::string_view key) const;  // ints too

 private:
  class Parser;
  using Part = std::shared_ptr<const GgufFile>;
  GgufFile() = default;
  static absl::StatusOr<std::shared_ptr<GgufFile>> OpenOne(const std::string& path,
                                                           const GgufLimits& limits);
  static absl::StatusOr<std::shared_ptr<GgufFile>> ParseOne(std::string bytes,
                                                            const GgufLimits& limits);
  // split.cc: `part(i)` brings part i > 0 and says in its errors which it is.
  static absl::StatusOr<Part> Join(const Part& first, uint64_t count, const GgufLimits& limits,
                                   const std::function<absl::StatusOr<Part>(uint64_t)>& part);
  absl::Status IndexTensors();

  std::string owned_;          // FromBytes
  MappedFile mapped_;          // Open
  std::string_view contents_;  // all bytes, whichever owns them
  std::vector<Part> parts_;    // of a split model, whose tensors these are; contents_ is empty
  uint32_t version_ = 0;
  uint64_t alignment_ = 32;
  std::vector<Entry> entries_;
  std::vector<Tensor> tensors_;
  std::vector<uint32_t> entries_by_key_;   // indices sorted by key
  std::vector<uint32_t> tensors_by_name_;  // indices sorted by name
};

// "[1, 2, 3, … 49152 in all]": one metadata value for people (`weftctl inspect`), at most about
// max_bytes long; strings are quoted and escaped.
std::string Describe(const GgufFile::Entry& entry, size_t max_bytes = 120);

// A GGUF v3 file with all metadata except the per-tensor part and no tensors, keys sorted: what a
// worker ships as its tokenizer. The same metadata gives the same bytes.
std::string SerializeMetadata(const GgufFile& file);

// Lower-case hex SHA-256 of SerializeMetadata(file): the tokenizer hash of the protos.
std::string MetadataSha256(const GgufFile& file);

}  // namespace weft
