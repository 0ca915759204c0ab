// Any parts of a split model: they are refused, or every tensor can be read and is found by name.
// Input: the number of parts (a byte), their sizes (32 bits each), their bytes.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "libs/base/status.h"
#include "libs/gguf/gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  const size_t count = data[0] % 8;
  if (size < 1 + 4 * count) return 0;
  const uint8_t* rest = data + 1 + 4 * count;
  size_t left = size - 1 - 4 * count;
  std::vector<std::string> parts;
  for (size_t i = 0; i < count; ++i) {
    uint32_t wanted;
    std::memcpy(&wanted, data + 1 + 4 * i, 4);
    const size_t bytes = std::min<size_t>(wanted, left);
    parts.emplace_back(reinterpret_cast<const char*>(rest), bytes);
    rest += bytes;
    left -= bytes;
  }
  const auto file = weft::GgufFile::FromParts(std::move(parts));
  if (!file.ok()) return 0;
  uint64_t sum = 0;
  for (const auto& tensor : (*file)->tensors()) {
    for (uint64_t i = 0; i < tensor.bytes; ++i) sum += tensor.data[i];
    WEFT_CHECK((*file)->FindTensor(tensor.name) == &tensor);
  }
  WEFT_CHECK((*file)->contents().size() == count);
  WEFT_CHECK(weft::GgufFile::FromBytes(weft::SerializeMetadata(**file)).ok());
  [[maybe_unused]] static volatile uint64_t sink;
  sink = sum;
  return 0;
}
