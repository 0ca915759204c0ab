// A hostile file of repacked weights. Its checksum is made right, or no input would get past it.
#include <algorithm>
#include <cstdint>
#include <string>

#include "libs/base/status.h"
#include "libs/model/repack_file.h"
#include "libs/model/sha256.h"

namespace {

uint64_t ReadAll(const weft::RepackIndex& index, std::string_view file) {
  uint64_t sum = 0;
  for (const weft::RepackEntry& entry : index.entries) {
    for (const char byte : file.substr(entry.offset, entry.bytes)) {
      sum += static_cast<uint8_t>(byte);
    }
    WEFT_CHECK(entry.offset % 64 == 0 && entry.bytes <= file.size() - entry.offset);
  }
  return sum;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const weft::RepackKey key{};
  std::string file(reinterpret_cast<const char*>(data), size);
  uint64_t sum = 0;
  const auto plain = weft::ParseRepackFile(file, key);
  if (plain.ok()) sum += ReadAll(*plain, file);
  if (size < 80) return 0;
  std::fill_n(file.begin() + 16, key.size(), '\0');
  const uint64_t body = std::min<uint64_t>(
      uint64_t{data[12]} | uint64_t{data[13]} << 8 | uint64_t{data[14]} << 16, size - 80);
  for (int i = 0; i < 4; ++i)
    file[12 + static_cast<size_t>(i)] = static_cast<char>(body >> (8 * i));
  weft::Sha256 hash;
  hash.Add(std::string(key.size(), '\0'));
  hash.Add(std::string_view(file).substr(80, body));
  const auto checksum = hash.Digest();
  std::copy(checksum.begin(), checksum.end(), file.begin() + 48);
  const auto index = weft::ParseRepackFile(file, key);
  if (index.ok()) {
    sum += ReadAll(*index, file);
    WEFT_CHECK(file.substr(0, 80 + body) == weft::SerializeRepackHeader(*index, key));
  }
  [[maybe_unused]] static volatile uint64_t sink;
  sink = sum;
  return 0;
}
