// SHA-256 of bytes that come in pieces.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

namespace weft {

// Not thread safe.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void Add(std::string_view bytes);
  // The same of a mapped file, part by part: `taken` hears of each, so that its pages need not stay
  // in memory.
  void Add(std::string_view bytes, const std::function<void(std::string_view)>& taken);
  // Of everything added. Once.
  std::array<uint8_t, 32> Digest();

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

}  // namespace weft
