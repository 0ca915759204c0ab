#include "libs/kv/prefix_key.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "libs/base/status.h"

namespace weft::kv {
namespace {

static_assert(std::endian::native == std::endian::little);

struct SipState {
  uint64_t v0, v1, v2, v3;
  void Round() {
    v0 += v1;
    v1 = std::rotl(v1, 13) ^ v0;
    v0 = std::rotl(v0, 32);
    v2 += v3;
    v3 = std::rotl(v3, 16) ^ v2;
    v0 += v3;
    v3 = std::rotl(v3, 21) ^ v0;
    v2 += v1;
    v1 = std::rotl(v1, 17) ^ v2;
    v2 = std::rotl(v2, 32);
  }
};

void AppendU64(uint64_t v, std::string* out) {
  char bytes[8];
  std::memcpy(bytes, &v, 8);
  out->append(bytes, 8);
}

std::span<const uint8_t> Bytes(const std::string& s) {
  return {reinterpret_cast<const uint8_t*>(s.data()), s.size()};
}

}  // namespace

PrefixKey SipHash128(const std::array<uint64_t, 2>& key, std::span<const uint8_t> bytes) {
  SipState s{.v0 = 0x736f6d6570736575ULL ^ key[0],
             .v1 = 0x646f72616e646f6dULL ^ key[1] ^ 0xee,
             .v2 = 0x6c7967656e657261ULL ^ key[0],
             .v3 = 0x7465646279746573ULL ^ key[1]};
  auto absorb = [&s](uint64_t m) {
    s.v3 ^= m;
    s.Round();
    s.Round();
    s.v0 ^= m;
  };
  const size_t whole = bytes.size() / 8 * 8;
  for (size_t i = 0; i < whole; i += 8) {
    uint64_t m;
    std::memcpy(&m, bytes.data() + i, 8);
    absorb(m);
  }
  uint64_t last = static_cast<uint64_t>(bytes.size()) << 56;
  for (size_t i = whole; i < bytes.size(); ++i) {
    last |= static_cast<uint64_t>(bytes[i]) << (8 * (i - whole));
  }
  absorb(last);
  PrefixKey out;
  s.v2 ^= 0xee;
  for (int i = 0; i < 4; ++i) s.Round();
  out.lo = s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
  s.v1 ^= 0xdd;
  for (int i = 0; i < 4; ++i) s.Round();
  out.hi = s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
  return out;
}

void PrefixKey::AppendTo(std::string* out) const {
  AppendU64(lo, out);
  AppendU64(hi, out);
}

std::optional<std::vector<PrefixKey>> ParsePrefixKeys(std::string_view bytes) {
  if (bytes.size() % kPrefixKeyBytes != 0) return std::nullopt;
  std::vector<PrefixKey> keys(bytes.size() / kPrefixKeyBytes);
  for (size_t i = 0; i < keys.size(); ++i) {
    std::memcpy(&keys[i].lo, bytes.data() + i * kPrefixKeyBytes, 8);
    std::memcpy(&keys[i].hi, bytes.data() + i * kPrefixKeyBytes + 8, 8);
  }
  return keys;
}

PrefixHasher::PrefixHasher(std::string numerics_class, std::array<uint64_t, 2> seed_key)
    : numerics_class_(std::move(numerics_class)), seed_key_(seed_key) {}

PrefixKey PrefixHasher::Root(std::string_view kv_salt) const {
  // The length between them keeps ("ab", "c") and ("a", "bc") apart.
  std::string text;
  AppendU64(numerics_class_.size(), &text);
  text += numerics_class_;
  text += kv_salt;
  return SipHash128(seed_key_, Bytes(text));
}

PrefixKey PrefixHasher::Next(const PrefixKey& parent, std::span<const int32_t> tokens) const {
  WEFT_CHECK(tokens.size() == static_cast<size_t>(kBlockTokens));
  std::array<uint8_t, kPrefixKeyBytes + sizeof(int32_t) * kBlockTokens> text;
  std::memcpy(text.data(), &parent.lo, 8);
  std::memcpy(text.data() + 8, &parent.hi, 8);
  std::memcpy(text.data() + kPrefixKeyBytes, tokens.data(), sizeof(int32_t) * kBlockTokens);
  return SipHash128(seed_key_, text);
}

std::vector<PrefixKey> PrefixHasher::Chain(std::string_view kv_salt,
                                           std::span<const int32_t> tokens, size_t max_keys) const {
  std::vector<PrefixKey> keys(std::min(tokens.size() / kBlockTokens, max_keys));
  PrefixKey parent = keys.empty() ? PrefixKey{} : Root(kv_salt);
  for (size_t i = 0; i < keys.size(); ++i) {
    parent = keys[i] = Next(parent, tokens.subspan(i * kBlockTokens, kBlockTokens));
  }
  return keys;
}

}  // namespace weft::kv
