// Writes GGUF v3 files: into memory (metadata shipped between services, tests), or piece by piece.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libs/gguf/gguf.h"

namespace weft {

// Entries and tensors appear in the order in which they are added. Nothing is checked: tests make
// hostile files with it too. Not thread safe.
class GgufWriter {
 public:
  explicit GgufWriter(uint64_t alignment = 32) : alignment_(alignment) {}

  void AddUint32(std::string_view key, uint32_t value);
  void AddInt32(std::string_view key, int32_t value);
  void AddUint64(std::string_view key, uint64_t value);
  void AddFloat32(std::string_view key, float value);
  void AddBool(std::string_view key, bool value);
  void AddString(std::string_view key, std::string_view value);
  void AddStringArray(std::string_view key, std::span<const std::string> values);
  void AddInt32Array(std::string_view key, std::span<const int32_t> values);
  void AddBoolArray(std::string_view key, std::span<const uint8_t> values);  // 0 or 1
  void AddUint8Array(std::string_view key, std::string_view bytes);
  void AddFloat32Array(std::string_view key, std::span<const float> values);
  void AddFloat64Array(std::string_view key, std::span<const double> values);
  // An entry of another file, byte for byte.
  void AddEntry(const GgufFile::Entry& entry);

  // `ggml_type` is the file's type number; `data` must stay alive until Finish.
  void AddTensor(std::string_view name, uint32_t ggml_type, std::span<const int64_t> dims,
                 std::string_view data);
  // For files too large for memory: only the tensor's place. Write Head(), then for every tensor,
  // in order, PaddingAt(bytes written) zeros and its `bytes`; FileBytes() is what comes out.
  void AddTensorInfo(std::string_view name, uint32_t ggml_type, std::span<const int64_t> dims,
                     uint64_t bytes);

  std::string Head() const;
  uint64_t PaddingAt(uint64_t offset) const;
  uint64_t FileBytes() const;
  std::string Finish() const;  // of tensors with data

 private:
  struct Tensor {
    std::string name;
    uint32_t type;
    std::vector<int64_t> dims;
    uint64_t bytes;
    std::string_view data;
  };
  void Key(std::string_view key, GgufType type);
  void ArrayHead(std::string_view key, GgufType element, uint64_t count);

  uint64_t alignment_;
  uint64_t entries_ = 0;
  std::string metadata_;
  std::vector<Tensor> tensors_;
};

}  // namespace weft
