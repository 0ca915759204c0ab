// Keys of the prefix cache: a keyed 128-bit hash chained over groups of 64 tokens. The worker uses
// them to find cached blocks, the scheduler to guess which worker holds a prompt's beginning.
//
//   root   = H(seed key, numerics class, KV salt)
//   key[0] = H(seed key, root,   tokens[0, 64))
//   key[i] = H(seed key, key[i-1], tokens[64 i, 64 i + 64))
//
// The numerics class (ModelInfo.numerics_class) names the weights and the type of the cache: keys
// of an F16 cache mean nothing to one in Q8_0.
//
// H is SipHash-2-4 with 128 bits of output (Aumasson and Bernstein, 2012). Keys are hints: whoever
// reuses memory because of one compares the tokens as well.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace weft::kv {

// Tokens per key, and per KV block.
inline constexpr int32_t kBlockTokens = 64;
inline constexpr size_t kPrefixKeyBytes = 16;

struct PrefixKey {
  uint64_t lo = 0;
  uint64_t hi = 0;

  bool operator==(const PrefixKey&) const = default;
  bool operator<(const PrefixKey& other) const {
    return hi != other.hi ? hi < other.hi : lo < other.lo;
  }
  // The wire form: lo then hi, little endian.
  void AppendTo(std::string* out) const;
};

// The keys in a string of concatenated wire forms; nullopt when its size is not a multiple of 16.
std::optional<std::vector<PrefixKey>> ParsePrefixKeys(std::string_view bytes);

struct PrefixKeyHash {
  size_t operator()(const PrefixKey& k) const { return static_cast<size_t>(k.lo ^ (k.hi >> 1)); }
};

// SipHash-2-4-128 of the bytes.
PrefixKey SipHash128(const std::array<uint64_t, 2>& key, std::span<const uint8_t> bytes);

// Makes the chains of one model. Immutable, thread safe.
class PrefixHasher {
 public:
  // The default key; every process of a mesh must use the same one.
  static constexpr std::array<uint64_t, 2> kDefaultSeedKey = {0x77656674'2e6b7631ULL,
                                                              0x70726566'69786573ULL};

  explicit PrefixHasher(std::string numerics_class,
                        std::array<uint64_t, 2> seed_key = kDefaultSeedKey);

  virtual ~PrefixHasher() = default;

  PrefixKey Root(std::string_view kv_salt) const;
  // `tokens` holds exactly kBlockTokens ids. Virtual so that a test can make keys collide.
  virtual PrefixKey Next(const PrefixKey& parent, std::span<const int32_t> tokens) const;
  // One key for each full group of kBlockTokens tokens, at most `max_keys` of them.
  std::vector<PrefixKey> Chain(std::string_view kv_salt, std::span<const int32_t> tokens,
                               size_t max_keys = SIZE_MAX) const;

 private:
  const std::string numerics_class_;
  const std::array<uint64_t, 2> seed_key_;
};

// Changes of the set of cached prefixes. Numbers go up by one for each event set; a gap means that
// the reader missed one and needs a snapshot. A key is in at most one of the two lists.
struct KvEvents {
  uint64_t number = 0;
  std::vector<PrefixKey> stored;
  std::vector<PrefixKey> removed;
  bool empty() const { return stored.empty() && removed.empty(); }
};

// All keys, as they are after event set `number`.
struct KvSnapshot {
  uint64_t number = 0;
  std::vector<PrefixKey> keys;
};

}  // namespace weft::kv
