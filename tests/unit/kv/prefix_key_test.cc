#include "libs/kv/prefix_key.h"

#include <numeric>
#include <set>

#include "libs/base/ids.h"
#include "tests/support/catch.h"

namespace weft::kv {
namespace {

std::string HexOf(const PrefixKey& key) {
  std::string bytes;
  key.AppendTo(&bytes);
  return Hex({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
}

std::vector<int32_t> Tokens(int n, int32_t first = 0) {
  std::vector<int32_t> tokens(static_cast<size_t>(n));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

TEST_CASE("SipHash128 gives the reference vectors", "[kv]") {
  // From the authors' vectors.h (vectors_sip128): key 00 01 … 0f, message 00 01 … (n - 1).
  const std::array<uint64_t, 2> key = {0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL};
  CHECK(HexOf(SipHash128(key, {})) == "a3817f04ba25a8e66df67214c7550293");
  const std::vector<uint8_t> one = {0};
  CHECK(HexOf(SipHash128(key, one)) == "da87c1d86b99af44347659119b22fc45");
}

TEST_CASE("SipHash128 depends on every byte, the length and the key", "[kv]") {
  const std::array<uint64_t, 2> key = {1, 2};
  std::set<PrefixKey> seen;
  for (size_t n = 0; n < 40; ++n) {
    std::vector<uint8_t> bytes(n, 0);
    seen.insert(SipHash128(key, bytes));
    for (uint8_t& b : bytes) {
      b = 1;
      seen.insert(SipHash128(key, bytes));
      b = 0;
    }
  }
  CHECK(seen.size() == 40 + 39 * 40 / 2);
  CHECK_FALSE(SipHash128({1, 2}, {}) == SipHash128({1, 3}, {}));
}

TEST_CASE("PrefixHasher chains one key per 64 tokens and drops the rest", "[kv]") {
  const PrefixHasher hasher("weights");
  CHECK(hasher.Chain("", Tokens(63)).empty());
  CHECK(hasher.Chain("", Tokens(64)).size() == 1);
  CHECK(hasher.Chain("", Tokens(191)).size() == 2);
  CHECK(hasher.Chain("", Tokens(640), 3).size() == 3);
  const auto keys = hasher.Chain("salt", Tokens(128));
  const PrefixKey first = hasher.Next(hasher.Root("salt"), Tokens(64));
  CHECK(keys[0] == first);
  CHECK(keys[1] == hasher.Next(first, Tokens(64, 64)));
}

TEST_CASE("PrefixHasher keys differ by weights, salt, seed key, position and any token", "[kv]") {
  const std::vector<int32_t> tokens = Tokens(128);
  std::set<PrefixKey> seen;
  auto add = [&](const PrefixHasher& hasher, std::string_view salt, const std::vector<int32_t>& t) {
    for (const PrefixKey& key : hasher.Chain(salt, t)) CHECK(seen.insert(key).second);
  };
  add(PrefixHasher("a"), "", tokens);
  add(PrefixHasher("b"), "", tokens);
  add(PrefixHasher("a"), "b", tokens);
  add(PrefixHasher("ab"), "", tokens);
  add(PrefixHasher("a", {7, 7}), "", tokens);
  for (size_t i = 0; i < 64; ++i) {
    std::vector<int32_t> changed = tokens;
    changed[i] += 1000;
    add(PrefixHasher("a"), "", changed);
  }
  // The same 64 tokens twice: the second key knows its place.
  add(PrefixHasher("a"), "", std::vector<int32_t>(128, 5));
}

TEST_CASE("ParsePrefixKeys reads what AppendTo wrote and refuses other sizes", "[kv]") {
  const std::vector<PrefixKey> keys = PrefixHasher("w").Chain("", Tokens(256));
  std::string wire;
  for (const PrefixKey& key : keys) key.AppendTo(&wire);
  CHECK(ParsePrefixKeys(wire) == keys);
  CHECK(ParsePrefixKeys("")->empty());
  CHECK_FALSE(ParsePrefixKeys(wire.substr(1)).has_value());
}

}  // namespace
}  // namespace weft::kv
