#include "libs/scan/checks.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>

namespace weft::scan {
namespace {

constexpr std::array<std::string_view, 4> kCheckNames = {"crc32_base62", "crc32_base62_all", "jwt",
                                                         "not_placeholder"};
constexpr std::string_view kBase62 =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
constexpr size_t kCrcDigits = 6;

constexpr std::array<uint32_t, 256> MakeCrcTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320U : 0U);
    table[i] = crc;
  }
  return table;
}
constexpr std::array<uint32_t, 256> kCrcTable = MakeCrcTable();

uint32_t Crc32(std::string_view text) {
  uint32_t crc = 0xFFFFFFFFU;
  for (const char c : text) crc = (crc >> 8) ^ kCrcTable[(crc ^ static_cast<uint8_t>(c)) & 0xFF];
  return crc ^ 0xFFFFFFFFU;
}

int Base64UrlDigit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '-') return 62;
  if (c == '_') return 63;
  return -1;
}

std::optional<std::string> DecodeBase64Url(std::string_view text) {
  std::string out;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const int digit = Base64UrlDigit(c);
    if (digit < 0) return std::nullopt;
    bits = (bits << 6) | static_cast<uint32_t>(digit);
    count += 6;
    if (count >= 8) {
      count -= 8;
      out += static_cast<char>((bits >> count) & 0xFF);
    }
  }
  return out;
}

bool EndsInItsCrc(std::string_view text) {
  if (text.size() <= kCrcDigits) return false;
  const size_t split = text.size() - kCrcDigits;
  return text.substr(split) == Base62Crc32(text.substr(0, split));
}

std::string Lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

}  // namespace

double Entropy(std::string_view text) {
  if (text.empty()) return 0.0;
  std::array<uint32_t, 256> counts{};
  for (const char c : text) ++counts[static_cast<uint8_t>(c)];
  const double n = static_cast<double>(text.size());
  double entropy = 0.0;
  for (const uint32_t count : counts) {
    if (count == 0) continue;
    const double p = count / n;
    entropy -= p * std::log2(p);
  }
  return entropy;
}

std::string Base62Crc32(std::string_view text) {
  std::string out(kCrcDigits, '0');
  uint32_t crc = Crc32(text);
  for (auto digit = out.rbegin(); crc != 0; ++digit, crc /= 62) *digit = kBase62[crc % 62];
  return out;
}

bool LooksLikeJwt(std::string_view text) {
  const size_t dot = text.find('.');
  if (dot == std::string_view::npos) return false;
  const std::optional<std::string> header = DecodeBase64Url(text.substr(0, dot));
  if (!header) return false;
  const auto json = nlohmann::json::parse(*header, nullptr, /*allow_exceptions=*/false);
  return json.is_object() && json.contains("alg");
}

bool LooksLikePlaceholder(std::string_view text) {
  static constexpr std::string_view kMarks[] = {
      "example",  "changeme", "change_me",   "change-me",   "placeholder",  "your_",
      "your-",    "yourkey",  "yoursecret",  "yourtoken",   "yourpassword", "dummy",
      "redacted", "insert",   "replace",     "todo",        "xxxx",         "****",
      "....",     "<",        "${",          "{{",          "%(",           "$(",
      "getenv",   "environ",  "process.env", "test_secret", "sample"};
  const std::string lower = Lower(text);
  if (std::any_of(std::begin(kMarks), std::end(kMarks),
                  [&](std::string_view mark) { return lower.find(mark) != std::string::npos; })) {
    return true;
  }
  // "$DB_PASSWORD", and words that describe themselves.
  return lower.starts_with('$') || lower == "password" || lower == "passwd" || lower == "pass" ||
         lower == "secret" || lower == "token" || lower == "pwd";
}

bool Passes(Check check, std::string_view secret) {
  switch (check) {
    case Check::kCrc32Base62: {
      const size_t prefix = secret.rfind('_');
      return EndsInItsCrc(prefix == std::string_view::npos ? secret : secret.substr(prefix + 1));
    }
    case Check::kCrc32Base62All:
      return EndsInItsCrc(secret);
    case Check::kJwt:
      return LooksLikeJwt(secret);
    case Check::kNotPlaceholder:
      return !LooksLikePlaceholder(secret);
  }
  return false;
}

std::string_view Name(Check check) { return kCheckNames[static_cast<size_t>(check)]; }

bool Parse(std::string_view name, Check& out) {
  const auto it = std::find(kCheckNames.begin(), kCheckNames.end(), name);
  if (it == kCheckNames.end()) return false;
  out = static_cast<Check>(it - kCheckNames.begin());
  return true;
}

}  // namespace weft::scan
