#include "libs/identity/password.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <optional>

#include "libs/base/error_info.h"
#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/identity/api_key.h"
#include "libs/identity/base64url.h"

namespace weft::identity {
namespace {

constexpr size_t kHashBytes = 32;
constexpr size_t kSaltBytes = 16;
constexpr uint64_t kMaxMemory = uint64_t{256} << 20;
constexpr std::string_view kPrefix = "$scrypt$";

struct Cost {
  uint32_t ln = 15;
  uint32_t r = 8;
  uint32_t p = 3;

  uint64_t memory() const { return uint64_t{128} * r * (uint64_t{1} << ln); }
};

struct Parsed {
  Cost cost;
  std::string salt;
  std::string hash;
};

bool ReadNumber(std::string_view& text, std::string_view name, char end, uint32_t max,
                uint32_t& out) {
  if (!text.starts_with(name)) return false;
  text.remove_prefix(name.size());
  const auto [at, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc() || out == 0 || out > max) return false;
  text.remove_prefix(static_cast<size_t>(at - text.data()));
  if (text.empty() || text.front() != end) return false;
  text.remove_prefix(1);
  return true;
}

std::optional<Parsed> Parse(std::string_view text) {
  Parsed parsed;
  if (!text.starts_with(kPrefix)) return std::nullopt;
  text.remove_prefix(kPrefix.size());
  if (!ReadNumber(text, "ln=", ',', 20, parsed.cost.ln) ||
      !ReadNumber(text, "r=", ',', 32, parsed.cost.r) ||
      !ReadNumber(text, "p=", '$', 16, parsed.cost.p) || parsed.cost.memory() > kMaxMemory) {
    return std::nullopt;
  }
  const size_t dollar = text.find('$');
  if (dollar == std::string_view::npos) return std::nullopt;
  auto salt = Base64UrlDecode(text.substr(0, dollar));
  auto hash = Base64UrlDecode(text.substr(dollar + 1));
  if (!salt || !hash || salt->size() < kSaltBytes || salt->size() > 64 ||
      hash->size() != kHashBytes) {
    return std::nullopt;
  }
  parsed.salt = *std::move(salt);
  parsed.hash = *std::move(hash);
  return parsed;
}

std::string Derive(std::string_view password, std::string_view salt, const Cost& cost) {
  std::string hash(kHashBytes, '\0');
  const int made = EVP_PBE_scrypt(password.data(), password.size(),
                                  reinterpret_cast<const unsigned char*>(salt.data()), salt.size(),
                                  uint64_t{1} << cost.ln, cost.r, cost.p, 2 * kMaxMemory,
                                  reinterpret_cast<unsigned char*>(hash.data()), hash.size());
  WEFT_CHECK(made == 1);  // out of memory
  return hash;
}

}  // namespace

absl::Status CheckPassword(std::string_view password) {
  const bool printable = std::none_of(password.begin(), password.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
  });
  if (password.size() >= 8 && password.size() <= 1024 && printable) return absl::OkStatus();
  return WithField(InvalidArgument("password: must have 8 to 1024 bytes, no control characters"),
                   "password");
}

std::string HashPassword(std::string_view password) {
  std::array<uint8_t, kSaltBytes> bytes;
  RandomBytes(bytes);
  const std::string salt(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const Cost cost;
  return fmt::format("{}ln={},r={},p={}${}${}", kPrefix, cost.ln, cost.r, cost.p,
                     Base64UrlEncode(salt), Base64UrlEncode(Derive(password, salt, cost)));
}

bool VerifyPassword(std::string_view password, std::string_view hash) {
  const auto parsed = Parse(hash);
  if (!parsed) {
    static const std::string kNoSalt(kSaltBytes, '\0');
    static_cast<void>(Derive(password, kNoSalt, Cost()));
    return false;
  }
  return ConstantTimeEquals(Derive(password, parsed->salt, parsed->cost), parsed->hash);
}

bool IsPasswordHash(std::string_view hash) { return Parse(hash).has_value(); }

}  // namespace weft::identity
