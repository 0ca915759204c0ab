#include "libs/batching/fair_queue.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "libs/base/status.h"
#include "tests/support/catch.h"

namespace weft::batching {
namespace {

std::vector<uint64_t> PopAll(FairQueue& queue) {
  std::vector<uint64_t> ids;
  while (auto entry = queue.Pop()) ids.push_back(entry->id);
  return ids;
}

TEST_CASE("FairQueue is first in, first out within one key", "[batching]") {
  FairQueue queue;
  for (uint64_t id = 1; id <= 5; ++id) REQUIRE(queue.Push({.id = id, .cost = 10}).ok());
  CHECK(PopAll(queue) == std::vector<uint64_t>{1, 2, 3, 4, 5});
  CHECK(queue.empty());
  CHECK_FALSE(queue.Pop().has_value());
}

TEST_CASE("FairQueue alternates between keys whatever the length of their lines", "[batching]") {
  FairQueue queue;
  for (uint64_t id = 1; id <= 4; ++id) REQUIRE(queue.Push({.id = id, .share_key = 1}).ok());
  for (uint64_t id = 5; id <= 6; ++id) REQUIRE(queue.Push({.id = id, .share_key = 2}).ok());
  CHECK(PopAll(queue) == std::vector<uint64_t>{1, 5, 2, 6, 3, 4});
}

TEST_CASE("FairQueue serves keys in proportion to their weights", "[batching]") {
  FairQueue queue;
  for (uint64_t id = 0; id < 400; ++id) {
    const uint64_t key = id % 2;
    REQUIRE(
        queue.Push({.id = id, .share_key = key, .weight = key == 0 ? 3.0 : 1.0, .cost = 7}).ok());
  }
  std::map<uint64_t, int> served;
  for (int i = 0; i < 200; ++i) ++served[queue.Pop()->share_key];
  CHECK(std::abs(served[0] - 150) <= 1);
}

TEST_CASE("FairQueue counts tokens charged while running", "[batching]") {
  FairQueue queue;
  for (uint64_t id = 0; id < 20; ++id) REQUIRE(queue.Push({.id = id, .share_key = id % 2}).ok());
  queue.Charge(0, 1.0, 5.0);
  for (int i = 0; i < 5; ++i) CHECK(queue.Pop()->share_key == 1);
  queue.Charge(0, 1.0, -3.0);
  CHECK(queue.Counter(0) == 2.0);
  CHECK(queue.Counter(1) == 5.0);
  for (int i = 0; i < 3; ++i) CHECK(queue.Pop()->share_key == 0);
}

TEST_CASE("FairQueue gives nothing for having idled", "[batching]") {
  FairQueue queue;
  for (uint64_t id = 0; id < 100; ++id) {
    REQUIRE(queue.Push({.id = id, .share_key = 1, .cost = 10}).ok());
  }
  for (int i = 0; i < 50; ++i) queue.Pop();
  for (uint64_t id = 200; id < 210; ++id) {
    REQUIRE(queue.Push({.id = id, .share_key = 2, .cost = 10}).ok());
  }
  std::map<uint64_t, int> served;
  for (int i = 0; i < 10; ++i) ++served[queue.Pop()->share_key];
  CHECK(served[1] == 5);
  CHECK(served[2] == 5);
}

TEST_CASE("FairQueue keeps a debt over a pause", "[batching]") {
  FairQueue queue;
  REQUIRE(queue.Push({.id = 1, .share_key = 1, .cost = 100}).ok());
  REQUIRE(queue.Push({.id = 2, .share_key = 2, .cost = 1}).ok());
  CHECK(queue.Pop()->id == 1);
  CHECK(queue.Pop()->id == 2);
  for (uint64_t id = 10; id < 20; ++id) {
    REQUIRE(queue.Push({.id = id, .share_key = 2, .cost = 1}).ok());
  }
  REQUIRE(queue.Push({.id = 3, .share_key = 1, .cost = 1}).ok());
  for (uint64_t id = 10; id < 20; ++id) CHECK(queue.Pop()->id == id);
  CHECK(queue.Pop()->id == 3);
}

TEST_CASE("FairQueue serves higher priorities first but starves nobody", "[batching]") {
  FairQueue queue({.max_bypass = 4});
  REQUIRE(queue.Push({.id = 1, .priority = -1}).ok());
  REQUIRE(queue.Push({.id = 2, .priority = 0}).ok());
  for (uint64_t id = 10; id < 30; ++id) REQUIRE(queue.Push({.id = id, .priority = 5}).ok());
  const std::vector<uint64_t> order = PopAll(queue);
  CHECK(order[0] == 10);
  const auto low = std::find(order.begin(), order.end(), 1) - order.begin();
  const auto middle = std::find(order.begin(), order.end(), 2) - order.begin();
  CHECK(middle == 4);
  CHECK(low == 5);
}

TEST_CASE("FairQueue says no by name when it or a key's part is full", "[batching]") {
  FairQueue queue({.max_items = 3, .max_items_per_key = 2});
  REQUIRE(queue.Push({.id = 1, .share_key = 1}).ok());
  REQUIRE(queue.Push({.id = 2, .share_key = 1}).ok());
  CHECK(queue.Push({.id = 3, .share_key = 1}).code() == absl::StatusCode::kResourceExhausted);
  REQUIRE(queue.Push({.id = 3, .share_key = 2}).ok());
  CHECK(queue.Push({.id = 4, .share_key = 3}).code() == absl::StatusCode::kResourceExhausted);
  CHECK(queue.Push({.id = 3, .share_key = 2}).code() == absl::StatusCode::kAlreadyExists);
  CHECK(queue.Push({.id = 9, .weight = 0.0}).code() == absl::StatusCode::kInvalidArgument);
  CHECK(queue.Push({.id = 9, .weight = NAN}).code() == absl::StatusCode::kInvalidArgument);
  CHECK(queue.Push({.id = 9, .cost = -1}).code() == absl::StatusCode::kInvalidArgument);
  CHECK(queue.SizeOfKey(1) == 2);
  CHECK(queue.size() == 3);
  // What was popped before may come back beyond the bounds.
  CHECK(queue.PushFront({.id = 10, .share_key = 1}).ok());
  CHECK(queue.size() == 4);
}

TEST_CASE("FairQueue puts a returning entry first and does not charge it again", "[batching]") {
  FairQueue queue;
  REQUIRE(queue.Push({.id = 1, .share_key = 1, .cost = 10}).ok());
  REQUIRE(queue.Push({.id = 2, .share_key = 1, .cost = 10}).ok());
  const FairEntry first = *queue.Pop();
  REQUIRE(queue.PushFront(first).ok());
  CHECK(queue.Counter(1) == 10.0);
  CHECK(queue.Pop()->id == 1);
  CHECK(queue.Counter(1) == 10.0);
  CHECK(queue.Pop()->id == 2);
  CHECK(queue.Counter(1) == 20.0);
}

TEST_CASE("FairQueue skips the heads that PopIf does not accept", "[batching]") {
  FairQueue queue;
  REQUIRE(queue.Push({.id = 1, .share_key = 1, .cost = 1}).ok());
  REQUIRE(queue.Push({.id = 2, .share_key = 1, .cost = 1}).ok());
  REQUIRE(queue.Push({.id = 3, .share_key = 2, .cost = 1}).ok());
  auto not_one = [](const FairEntry& e) { return e.id != 1; };
  CHECK(queue.PopIf(not_one)->id == 3);
  CHECK_FALSE(queue.PopIf(not_one).has_value());  // 2 is behind 1
  CHECK(queue.Counter(1) == 0.0);
  CHECK(queue.size() == 2);
}

TEST_CASE("FairQueue removes a waiting entry once", "[batching]") {
  FairQueue queue;
  REQUIRE(queue.Push({.id = 1}).ok());
  REQUIRE(queue.Push({.id = 2}).ok());
  CHECK(queue.Remove(1));
  CHECK_FALSE(queue.Remove(1));
  CHECK(PopAll(queue) == std::vector<uint64_t>{2});
}

TEST_CASE("FairQueue remembers a bounded number of idle keys", "[batching]") {
  FairQueue queue({.max_idle_keys = 100});
  for (uint64_t key = 0; key < 1000; ++key) queue.Charge(key, 1.0, 1.0 + static_cast<double>(key));
  // The largest debts are the ones that are kept.
  CHECK(queue.Counter(999) == 1000.0);
  CHECK(queue.Counter(1) == 0.0);
}

}  // namespace
}  // namespace weft::batching
