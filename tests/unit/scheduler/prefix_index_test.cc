#include "services/scheduler/prefix_index.h"

#include "tests/support/catch.h"

using weft::kv::PrefixKey;
using weft::scheduler::PrefixIndex;
namespace v1 = weft::v1;

namespace {

v1::KvEvents Events(uint64_t first, uint64_t last, const std::vector<uint64_t>& stored,
                    const std::vector<uint64_t>& removed = {}, bool snapshot = false) {
  v1::KvEvents e;
  e.set_first_number(first);
  e.set_last_number(last);
  e.set_snapshot(snapshot);
  for (const uint64_t k : stored) PrefixKey{k, k}.AppendTo(e.mutable_stored());
  for (const uint64_t k : removed) PrefixKey{k, k}.AppendTo(e.mutable_removed());
  return e;
}

const std::vector<PrefixKey> kChain = {{1, 1}, {2, 2}, {3, 3}};

}  // namespace

TEST_CASE("PrefixIndex matches a chain from its beginning", "[scheduler]") {
  PrefixIndex index;
  REQUIRE(index.Apply(Events(5, 5, {1, 2}, {}, true)));
  CHECK(index.Match(kChain) == 2);
  REQUIRE(index.Apply(Events(6, 7, {3}, {1})));
  CHECK(index.Match(kChain) == 0);  // the first block is gone
  REQUIRE(index.Apply(Events(8, 8, {1})));
  CHECK(index.Match(kChain) == 3);
}

TEST_CASE("PrefixIndex learns nothing before a snapshot", "[scheduler]") {
  PrefixIndex index;
  CHECK(index.Apply(Events(1, 1, {1})));
  CHECK(index.size() == 0);
}

TEST_CASE("PrefixIndex forgets when event numbers are missing", "[scheduler]") {
  PrefixIndex index;
  REQUIRE(index.Apply(Events(1, 1, {1, 2}, {}, true)));
  CHECK_FALSE(index.Apply(Events(3, 3, {3})));
  CHECK(index.size() == 0);
  CHECK(index.Apply(Events(4, 4, {3})));
  CHECK(index.size() == 0);
  CHECK(index.Apply(Events(5, 5, {1}, {}, true)));
  CHECK(index.Match(kChain) == 1);
}

TEST_CASE("PrefixIndex ignores events that its snapshot holds already", "[scheduler]") {
  PrefixIndex index;
  REQUIRE(index.Apply(Events(9, 9, {1}, {}, true)));
  CHECK(index.Apply(Events(8, 9, {2}, {1})));
  CHECK(index.Match(kChain) == 1);
}

TEST_CASE("PrefixIndex survives malformed keys and keeps its bound", "[scheduler]") {
  PrefixIndex index(2);
  REQUIRE(index.Apply(Events(1, 1, {1, 2, 3}, {}, true)));
  CHECK(index.size() == 2);
  v1::KvEvents bad = Events(2, 2, {});
  bad.set_stored("fifteen bytes..");
  CHECK_FALSE(index.Apply(bad));
  CHECK(index.size() == 0);
}
