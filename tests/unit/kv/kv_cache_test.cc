#include "libs/kv/kv_cache.h"

#include <numeric>

#include "tests/support/catch.h"

namespace weft::kv {
namespace {

std::vector<int32_t> Tokens(int n, int32_t first = 0) {
  std::vector<int32_t> tokens(static_cast<size_t>(n));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

KvCache Cache(int32_t blocks, bool prefix_cache = true) {
  return KvCache({.blocks = blocks, .prefix_cache = prefix_cache},
                 std::make_shared<PrefixHasher>("w"));
}

TEST_CASE("KvCache grows by blocks of 64 tokens and changes nothing when it cannot", "[kv]") {
  KvCache cache = Cache(3);
  SequenceKv kv;
  CHECK(cache.Attach(&kv, "", Tokens(10), 9) == 0);
  CHECK(cache.Grow(&kv, 1));
  CHECK(kv.blocks.size() == 1);
  CHECK(cache.Grow(&kv, 64));
  CHECK(kv.blocks.size() == 1);
  CHECK(cache.Grow(&kv, 65));
  CHECK(kv.blocks.size() == 2);
  CHECK_FALSE(cache.Grow(&kv, 4 * 64));
  CHECK(kv.blocks.size() == 2);
  CHECK(cache.available() == 1);
  cache.Release(&kv);
  CHECK(kv.blocks.empty());
  CHECK(cache.available() == 3);
}

TEST_CASE("KvCache shares full blocks only, up to the allowed length", "[kv]") {
  KvCache cache = Cache(10);
  const auto tokens = Tokens(200);
  SequenceKv a;
  cache.Attach(&a, "", tokens, 199);
  REQUIRE(cache.Grow(&a, 200));
  cache.Commit(&a, tokens, 200);
  CHECK(cache.Match("", tokens, 199).tokens == 192);
  CHECK(cache.Match("", tokens, 199).pinned_blocks == 3);
  CHECK(cache.Match("", tokens, 191).tokens == 128);
  CHECK(cache.Match("salt", tokens, 199).tokens == 0);
  SequenceKv b;
  CHECK(cache.Attach(&b, "", tokens, 199) == 192);
  CHECK(b.blocks[0] == a.blocks[0]);
  REQUIRE(cache.Grow(&b, 200));
  CHECK(b.blocks[3] != a.blocks[3]);
  CHECK(cache.available() == 10 - 5);
  CHECK(cache.Releasable(a) == 1);
  cache.Release(&a);
  CHECK(cache.Releasable(b) == 4);
  CHECK(cache.Match("", tokens, 199).pinned_blocks == 3);
  cache.Release(&b);
  CHECK(cache.Match("", tokens, 199).pinned_blocks == 0);
  CHECK(cache.cached() == 3);
  CHECK(cache.available() == 10);
}

TEST_CASE("KvCache keeps one copy when two sequences compute the same block", "[kv]") {
  KvCache cache = Cache(10);
  const auto tokens = Tokens(130);
  SequenceKv a;
  SequenceKv b;
  for (SequenceKv* kv : {&a, &b}) {
    cache.Attach(kv, "", tokens, 129);
    REQUIRE(cache.Grow(kv, 130));
  }
  CHECK(cache.available() == 4);
  cache.Commit(&a, tokens, 130);
  cache.Commit(&b, tokens, 130);
  CHECK(a.blocks[0] == b.blocks[0]);
  CHECK(a.blocks[1] == b.blocks[1]);
  CHECK(a.blocks[2] != b.blocks[2]);
  CHECK(cache.available() == 6);
  cache.Release(&a);
  cache.Release(&b);
  CHECK(cache.available() == 10);
}

TEST_CASE("KvCache lets a sequence catch up with one that computes the same tokens", "[kv]") {
  KvCache cache = Cache(10);
  const auto tokens = Tokens(200);
  SequenceKv a;
  SequenceKv b;
  for (SequenceKv* kv : {&a, &b}) cache.Attach(kv, "", tokens, 199);
  REQUIRE(cache.Grow(&b, 16));  // b has begun its first block
  CHECK(cache.CatchUp(&b, tokens, 16, 199) == 16);
  REQUIRE(cache.Grow(&a, 130));
  cache.Commit(&a, tokens, 130);
  CHECK(cache.available() == 6);
  CHECK(cache.CatchUp(&b, tokens, 16, 127) == 64);  // not beyond the allowed length
  CHECK(cache.available() == 7);                    // its own block is free again
  CHECK(cache.CatchUp(&b, tokens, 64, 199) == 128);
  CHECK(b.blocks == std::vector<int32_t>(a.blocks.begin(), a.blocks.begin() + 2));
  CHECK(cache.CatchUp(&b, tokens, 128, 199) == 128);
  cache.Release(&a);
  CHECK(cache.Releasable(b) == 2);
  cache.Release(&b);
  CHECK(cache.available() == 10);
}

TEST_CASE("KvCache evicts a prefix from its far end when blocks are needed", "[kv]") {
  KvCache cache = Cache(4);
  const auto old_tokens = Tokens(256);
  SequenceKv kv;
  cache.Attach(&kv, "", old_tokens, 255);
  REQUIRE(cache.Grow(&kv, 256));
  cache.Commit(&kv, old_tokens, 256);
  cache.Release(&kv);
  SequenceKv next;
  cache.Attach(&next, "", Tokens(65, 1000), 64);
  REQUIRE(cache.Grow(&next, 65));
  CHECK(cache.evictions() == 2);
  CHECK(cache.Match("", old_tokens, 255).tokens == 128);
  cache.Release(&next);
}

TEST_CASE("KvCache without a prefix cache shares nothing", "[kv]") {
  KvCache cache = Cache(8, false);
  const auto tokens = Tokens(128);
  SequenceKv a;
  CHECK(cache.Attach(&a, "", tokens, 127) == 0);
  REQUIRE(cache.Grow(&a, 128));
  cache.Commit(&a, tokens, 128);
  CHECK(cache.Match("", tokens, 127).tokens == 0);
  CHECK(cache.TakeEvents().empty());
  cache.Release(&a);
  CHECK(cache.cached() == 0);
  CHECK(cache.available() == 8);
}

}  // namespace
}  // namespace weft::kv
