// Any bytes: the reader refuses them or every value and tensor can be read.
#include <cstddef>
#include <cstdint>

#include "libs/base/status.h"
#include "libs/gguf/gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file =
      weft::GgufFile::FromBytes(std::string(reinterpret_cast<const char*>(data), size));
  if (!file.ok()) return 0;
  const weft::GgufFile& gguf = **file;
  uint64_t sum = 0;
  for (const auto& tensor : gguf.tensors()) {
    for (uint64_t i = 0; i < tensor.bytes; ++i) sum += tensor.data[i];
    WEFT_CHECK(gguf.FindTensor(tensor.name) == &tensor);
  }
  for (const auto& entry : gguf.entries()) {
    WEFT_CHECK(gguf.Find(entry.key) == &entry);
    sum += weft::Describe(entry).size();
    sum += gguf.GetUint(entry.key).value_or(0);
    sum += static_cast<uint64_t>(gguf.GetInt(entry.key).value_or(0));
    sum += gguf.GetFloat(entry.key).ok() + gguf.GetBool(entry.key).ok();
    sum += gguf.GetString(entry.key).ok() + gguf.GetStringArray(entry.key).ok();
    sum += gguf.GetIntArray(entry.key).ok() + gguf.GetFloatArray(entry.key).ok();
  }
  // What is shipped can be read, and shipping it again gives the same bytes.
  const std::string shipped = weft::SerializeMetadata(gguf);
  const auto again = weft::GgufFile::FromBytes(shipped);
  WEFT_CHECK(again.ok() && weft::SerializeMetadata(**again) == shipped);
  [[maybe_unused]] static volatile uint64_t sink;
  sink = sum;
  return 0;
}
