#include "libs/tokenizer/charsmap.h"

#include <cstring>

#include "libs/base/status.h"
#include "libs/tokenizer/utf8.h"

namespace weft {
namespace {

constexpr size_t kMaxBytes = 1u << 26;

bool HasLeaf(uint32_t unit) { return (unit >> 8 & 1) != 0; }
uint32_t Value(uint32_t unit) { return unit & 0x7FFFFFFFu; }
uint32_t Label(uint32_t unit) { return unit & 0x800000FFu; }
uint32_t Offset(uint32_t unit) { return unit >> 10 << ((unit & 0x200u) >> 6); }

}  // namespace

absl::StatusOr<std::shared_ptr<const Charsmap>> Charsmap::Create(std::string_view blob) {
  uint32_t bytes = 0;
  if (blob.size() > kMaxBytes || blob.size() < sizeof(bytes)) {
    return InvalidArgument("precompiled_charsmap has {} bytes: it must have 4 to {}", blob.size(),
                           kMaxBytes);
  }
  std::memcpy(&bytes, blob.data(), sizeof(bytes));
  blob.remove_prefix(sizeof(bytes));
  if (bytes > blob.size() || bytes % sizeof(uint32_t) != 0 || bytes == 0) {
    return InvalidArgument("precompiled_charsmap: its trie has {} of {} bytes", bytes, blob.size());
  }
  auto out = std::make_shared<Charsmap>();
  out->units_.resize(bytes / sizeof(uint32_t));
  std::memcpy(out->units_.data(), blob.data(), bytes);
  out->replacements_ = std::string(blob.substr(bytes)) + '\0';
  return std::shared_ptr<const Charsmap>(std::move(out));
}

Charsmap::Match Charsmap::Find(std::string_view text) const {
  Match best;
  uint32_t node = Offset(units_[0]);
  for (size_t at = 0; at < text.size(); ++at) {
    const auto byte = static_cast<uint8_t>(text[at]);
    node ^= byte;
    if (byte == 0 || node >= units_.size() || Label(units_[node]) != byte) break;
    const uint32_t unit = units_[node];
    node ^= Offset(unit);
    if (!HasLeaf(unit)) continue;
    if (node >= units_.size()) break;
    const uint32_t value = Value(units_[node]);
    if (value >= replacements_.size()) break;
    best = {std::string_view(replacements_.c_str() + value), at + 1};
  }
  return best;
}

std::string Charsmap::Apply(std::string_view text) const {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Match match = Find(text.substr(at));
    const size_t length = match.length > 0 ? match.length : DecodeUtf8(text, at).length;
    out += match.length > 0 ? match.to : text.substr(at, length);
    at += length;
  }
  return out;
}

}  // namespace weft
