#include "libs/kv/prefix_tree.h"

#include "tests/support/catch.h"

namespace weft::kv {
namespace {

std::vector<int32_t> Block(int32_t token) {
  return std::vector<int32_t>(static_cast<size_t>(kBlockTokens), token);
}

// Every key is the same: only comparing tokens can tell prefixes apart.
class CollidingHasher final : public PrefixHasher {
 public:
  CollidingHasher() : PrefixHasher("collide") {}
  PrefixKey Next(const PrefixKey&, std::span<const int32_t>) const override { return {1, 1}; }
};

TEST_CASE("PrefixTree finds a child by its exact tokens under the right parent", "[kv]") {
  PrefixTree tree(std::make_shared<PrefixHasher>("w"));
  auto* root = tree.PinRoot("");
  auto* a = tree.Insert(root, Block(1), 10);
  auto* ab = tree.Insert(a, Block(2), 11);
  CHECK(tree.Find(root, Block(1)) == a);
  CHECK(tree.Find(a, Block(2)) == ab);
  CHECK(tree.Find(root, Block(2)) == nullptr);
  CHECK(tree.Find(ab, Block(1)) == nullptr);
  CHECK(tree.Find(tree.PinRoot("other"), Block(1)) == nullptr);
  CHECK(tree.nodes() == 2);
}

TEST_CASE("PrefixTree never takes a colliding key for a hit", "[kv]") {
  PrefixTree tree(std::make_shared<CollidingHasher>());
  auto* root = tree.PinRoot("");
  auto* a = tree.Insert(root, Block(1), 10);
  REQUIRE(a != nullptr);
  CHECK(tree.Find(root, Block(1)) == a);
  CHECK(tree.Find(root, Block(2)) == nullptr);
  CHECK(tree.Find(a, Block(1)) == nullptr);
  CHECK(tree.Insert(root, Block(2), 11) == nullptr);
  CHECK(tree.Insert(a, Block(1), 12) == nullptr);
  CHECK(tree.nodes() == 1);
}

TEST_CASE("PrefixTree evicts the oldest unpinned leaf when asked", "[kv]") {
  //  root ── a ── b
  //      └── c
  PrefixTree tree(std::make_shared<PrefixHasher>("w"));
  auto* root = tree.PinRoot("");
  auto* a = tree.Insert(root, Block(1), 1);
  auto* b = tree.Insert(a, Block(2), 2);
  auto* c = tree.Insert(root, Block(3), 3);
  CHECK(tree.EvictOne() == -1);  // all pinned
  tree.Unpin(c);
  tree.Unpin(b);
  tree.Unpin(a);
  CHECK(tree.unpinned() == 3);
  CHECK(tree.EvictOne() == 3);  // c was let go first
  CHECK(tree.EvictOne() == 2);  // a is older than nobody while b hangs on it
  CHECK(tree.EvictOne() == 1);
  CHECK(tree.EvictOne() == -1);
  CHECK(tree.evictions() == 3);
  tree.Unpin(root);
}

TEST_CASE("PrefixTree keeps a pinned path when its siblings go", "[kv]") {
  PrefixTree tree(std::make_shared<PrefixHasher>("w"));
  auto* root = tree.PinRoot("");
  auto* a = tree.Insert(root, Block(1), 1);
  auto* b = tree.Insert(a, Block(2), 2);
  tree.Pin(a);  // a second reader of a
  tree.Unpin(b);
  tree.Unpin(a);
  CHECK(tree.EvictOne() == 2);
  CHECK(tree.EvictOne() == -1);
  tree.Unpin(a);
  CHECK(tree.EvictOne() == 1);
}

TEST_CASE("PrefixTree forgets a salt's root with its last block and reader", "[kv]") {
  PrefixTree tree(std::make_shared<PrefixHasher>("w"));
  auto* root = tree.PinRoot("tenant");
  auto* a = tree.Insert(root, Block(1), 1);
  tree.Unpin(a);
  tree.Unpin(root);
  CHECK(tree.FindRoot("tenant") != nullptr);
  CHECK(tree.EvictOne() == 1);
  CHECK(tree.FindRoot("tenant") == nullptr);
  tree.Unpin(tree.PinRoot("visitor"));
  CHECK(tree.FindRoot("visitor") == nullptr);
}

TEST_CASE("PrefixTree nets out what was stored and removed between two readings", "[kv]") {
  PrefixTree tree(std::make_shared<PrefixHasher>("w"));
  CHECK(tree.TakeEvents().number == 0);
  auto* root = tree.PinRoot("");
  auto* a = tree.Insert(root, Block(1), 1);
  const PrefixKey key = a->key;
  KvEvents events = tree.TakeEvents();
  CHECK(events.number == 1);
  CHECK(events.stored == std::vector<PrefixKey>{key});
  CHECK(events.removed.empty());

  tree.Unpin(a);
  CHECK(tree.EvictOne() == 1);
  a = tree.Insert(root, Block(1), 7);  // gone and back again: nothing to tell
  events = tree.TakeEvents();
  CHECK(events.empty());
  CHECK(events.number == 1);
  CHECK(tree.Snapshot().keys == std::vector<PrefixKey>{key});

  tree.Unpin(a);
  tree.EvictOne();
  events = tree.TakeEvents();
  CHECK(events.number == 2);
  CHECK(events.removed == std::vector<PrefixKey>{key});
  CHECK(tree.Snapshot().number == 2);
  CHECK(tree.Snapshot().keys.empty());
}

}  // namespace
}  // namespace weft::kv
