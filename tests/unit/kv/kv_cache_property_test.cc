// The cache against a naive model that keeps whole prefixes in a map and searches it.
#include <map>
#include <random>
#include <set>

#include "libs/kv/kv_cache.h"
#include "tests/support/catch.h"

namespace weft::kv {
namespace {

using Prefix = std::pair<std::string, std::vector<int32_t>>;  // salt, tokens of whole blocks

class NaiveCache {
 public:
  struct Entry {
    int pins = 0;
    uint64_t id = 0;
    uint64_t last_used = 0;
  };
  int32_t Match(const std::string& salt, std::span<const int32_t> tokens, int32_t most) const {
    int32_t cached = 0;
    while (cached + kBlockTokens <= most && entries_.contains(Of(salt, tokens, cached + 64))) {
      cached += 64;
    }
    return cached;
  }
  void Pin(const std::string& salt, std::span<const int32_t> tokens, int32_t from, int32_t to) {
    for (int32_t n = from + 64; n <= to; n += 64) {
      auto [it, is_new] = entries_.try_emplace(Of(salt, tokens, n));
      if (is_new) it->second.id = next_id_++;
      ++it->second.pins;
    }
  }
  void Unpin(const std::string& salt, std::span<const int32_t> tokens, int32_t to) {
    for (int32_t n = to; n > 0; n -= 64) {
      Entry& e = entries_.at(Of(salt, tokens, n));
      if (--e.pins == 0) e.last_used = ++tick_;
    }
  }
  void Evict() {
    auto victim = entries_.end();
    for (auto it = entries_.begin(); it != entries_.end(); ++it) {
      if (it->second.pins > 0 || HasChild(it->first)) continue;
      if (victim == entries_.end() || std::pair(it->second.last_used, it->second.id) <
                                          std::pair(victim->second.last_used, victim->second.id)) {
        victim = it;
      }
    }
    REQUIRE(victim != entries_.end());
    entries_.erase(victim);
  }
  int32_t unpinned() const {
    return static_cast<int32_t>(std::count_if(entries_.begin(), entries_.end(),
                                              [](const auto& e) { return e.second.pins == 0; }));
  }
  std::set<PrefixKey> Keys(const PrefixHasher& hasher) const {
    std::set<PrefixKey> keys;
    for (const auto& [prefix, entry] : entries_) {
      keys.insert(hasher.Chain(prefix.first, prefix.second).back());
    }
    return keys;
  }
  size_t size() const { return entries_.size(); }

 private:
  static Prefix Of(const std::string& salt, std::span<const int32_t> tokens, int32_t n) {
    const auto head = tokens.first(static_cast<size_t>(n));
    return {salt, {head.begin(), head.end()}};
  }
  bool HasChild(const Prefix& parent) const {
    return std::any_of(entries_.begin(), entries_.end(), [&](const auto& e) {
      return e.first.first == parent.first && e.first.second.size() == parent.second.size() + 64 &&
             std::equal(parent.second.begin(), parent.second.end(), e.first.second.begin());
    });
  }
  std::map<Prefix, Entry> entries_;
  uint64_t tick_ = 0;
  uint64_t next_id_ = 1;
};

struct Live {
  std::string salt;
  std::vector<int32_t> tokens;
  int32_t computed = 0;
  int32_t shared = 0;  // tokens in shared blocks
  SequenceKv kv;
};

TEST_CASE("KvCache agrees with a naive model under random use and leaks nothing", "[kv]") {
  for (unsigned seed = 1; seed <= 30; ++seed) {
    std::mt19937 random(seed);
    auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
    constexpr int32_t kBlocks = 24;
    const auto hasher = std::make_shared<PrefixHasher>("w");
    KvCache cache({.blocks = kBlocks, .prefix_cache = true}, hasher);
    NaiveCache naive;
    std::vector<Live> live;
    std::set<PrefixKey> announced;
    int32_t private_blocks = 0;

    for (int op = 0; op < 300; ++op) {
      const int what = below(10);
      if (what < 3 && live.size() < 6) {
        Live s;
        s.salt = below(4) == 0 ? "other" : "";
        // Blocks of one repeated token from a small alphabet: much is shared.
        const int blocks = 1 + below(6);
        for (int b = 0; b < blocks; ++b) s.tokens.insert(s.tokens.end(), 64, below(2));
        s.tokens.resize(s.tokens.size() - static_cast<size_t>(below(64)));
        const auto most = static_cast<int32_t>(s.tokens.size()) - 1;
        const int32_t expected = naive.Match(s.salt, s.tokens, most);
        CHECK(cache.Match(s.salt, s.tokens, most).tokens == expected);
        s.computed = s.shared = cache.Attach(&s.kv, s.salt, s.tokens, most);
        REQUIRE(s.computed == expected);
        naive.Pin(s.salt, s.tokens, 0, expected);
        live.push_back(std::move(s));
      } else if (what < 8 && !live.empty()) {
        Live& s = live[static_cast<size_t>(below(static_cast<int>(live.size())))];
        const auto known = static_cast<int32_t>(s.tokens.size());
        const int32_t to = std::min(known, s.computed + 1 + below(150));
        const auto held = static_cast<int32_t>(s.kv.blocks.size());
        const int32_t missing = std::max(0, KvCache::BlocksFor(to) - held);
        const bool fits = missing <= cache.available();
        int32_t free = cache.available() - naive.unpinned();
        REQUIRE(cache.Grow(&s.kv, to) == fits);
        if (!fits) continue;
        for (int32_t i = 0; i < missing; ++i) free > 0 ? (void)--free : naive.Evict();
        private_blocks += missing;
        s.computed = to;
        cache.Commit(&s.kv, s.tokens, to);
        const int32_t full = to / 64 * 64;
        private_blocks -= (full - s.shared) / 64;
        naive.Pin(s.salt, s.tokens, s.shared, full);
        s.shared = full;
        // A sequence that is done with its tokens may get more, as decoding does.
        if (to == known && below(3) == 0) s.tokens.push_back(below(2));
      } else if (!live.empty()) {
        const auto at = below(static_cast<int>(live.size()));
        Live& s = live[static_cast<size_t>(at)];
        private_blocks -= static_cast<int32_t>(s.kv.blocks.size()) - s.shared / 64;
        cache.Release(&s.kv);
        naive.Unpin(s.salt, s.tokens, s.shared);
        live.erase(live.begin() + at);
      }
      REQUIRE(cache.cached() == naive.unpinned());
      REQUIRE(cache.available() ==
              kBlocks - private_blocks - static_cast<int32_t>(naive.size()) + naive.unpinned());
      const KvEvents events = cache.TakeEvents();
      for (const PrefixKey& key : events.removed) REQUIRE(announced.erase(key) == 1);
      for (const PrefixKey& key : events.stored) REQUIRE(announced.insert(key).second);
      REQUIRE(announced == naive.Keys(*hasher));
      // Private blocks belong to one sequence; shared ones to equal prefixes.
      std::map<int32_t, std::vector<int32_t>> contents;
      for (const Live& s : live) {
        for (size_t b = 0; b < s.kv.blocks.size(); ++b) {
          std::vector<int32_t> prefix = {-1, static_cast<int32_t>(&s - live.data())};
          if (static_cast<int32_t>(b) < s.shared / 64) {
            prefix.assign(s.tokens.begin(), s.tokens.begin() + static_cast<ptrdiff_t>(b + 1) * 64);
            prefix.push_back(s.salt.empty() ? 0 : 1);
          }
          auto [it, is_new] = contents.emplace(s.kv.blocks[b], prefix);
          REQUIRE((is_new || it->second == prefix));
        }
      }
    }
    for (Live& s : live) cache.Release(&s.kv);
    CHECK(cache.available() == kBlocks);
  }
}

}  // namespace
}  // namespace weft::kv
