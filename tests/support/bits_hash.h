// Hashes of results, committed: one machine's bits compared with another's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <map>
#include <string>
#include <vector>

namespace weft::test {

// Names of results and the hashes of their bits.
using BitsHashes = std::map<std::string, std::string>;

// FNV-1a of the elements' bytes, lowest first (every machine that we build for stores them so).
template <typename T>
std::string BitsHash(const std::vector<T>& values) {
  uint64_t hash = 0xcbf29ce484222325u;
  const auto* bytes = reinterpret_cast<const unsigned char*>(values.data());
  for (size_t i = 0; i < values.size() * sizeof(T); ++i) {
    hash = (hash ^ bytes[i]) * 0x100000001b3u;
  }
  char text[17];
  std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

// A file of lines "name hash"; empty when it is not there.
inline BitsHashes ReadBitsHashes(const std::string& path) {
  BitsHashes out;
  std::ifstream file(path);
  for (std::string name, hash; file >> name >> hash;) out[name] = hash;
  return out;
}
inline void WriteBitsHashes(const std::string& path, const BitsHashes& hashes) {
  std::ofstream file(path);
  for (const auto& [name, hash] : hashes) file << name << ' ' << hash << '\n';
}

}  // namespace weft::test
