// Any bytes: the reader refuses them, or every byte of every tensor can be read and belongs to one
// tensor only. The same bytes are also tried as an index of shards.
#include <cstddef>
#include <cstdint>

#include "libs/base/status.h"
#include "libs/safetensors/checkpoint.h"
#include "libs/safetensors/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  const weft::SafetensorsLimits limits{.max_header_bytes = 1 << 16, .max_tensors = 256};
  const auto index = weft::ParseSafetensorsIndex(bytes, limits);
  if (index.ok()) {
    for (const auto& [tensor, shard] : *index) {
      WEFT_CHECK(shard.find('/') == std::string::npos && shard.ends_with(".safetensors"));
    }
  }
  const auto file = weft::SafetensorsFile::FromBytes(bytes, limits);
  if (!file.ok()) {
    WEFT_CHECK(!file.status().message().empty());
    return 0;
  }
  uint64_t sum = 0;
  uint64_t owned = 0;
  for (const auto& tensor : (*file)->tensors()) {
    for (uint64_t i = 0; i < tensor.bytes; ++i) sum += tensor.data[i];
    owned += tensor.bytes;
    WEFT_CHECK((*file)->Find(tensor.name) == &tensor);
    if (tensor.type.has_value()) {
      WEFT_CHECK(weft::BytesFor(*tensor.type, tensor.elements) == tensor.bytes);
    }
  }
  WEFT_CHECK(owned <= bytes.size());
  [[maybe_unused]] static volatile uint64_t sink;
  sink = sum;
  return 0;
}
