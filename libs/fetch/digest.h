// SHA-256 of what comes in pieces, and the few encodings that fetching needs.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace weft::fetch {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void Add(std::string_view bytes);
  std::string Hex();  // ends it: 64 lower-case digits

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

std::string Sha256Hex(std::string_view bytes);
std::string HmacSha256(std::string_view key, std::string_view bytes);  // 32 bytes
std::string Hex(std::string_view bytes);
std::string Base64(std::string_view bytes);
// nullopt: not base64 with its padding. Line ends are skipped.
std::optional<std::string> Base64Decode(std::string_view text);
// Whether it is 64 lower-case hexadecimal digits.
bool IsSha256Hex(std::string_view text);

}  // namespace weft::fetch
