#include "libs/base/bounded_queue.h"

#include <atomic>
#include <memory>

#include "libs/base/thread_pool.h"
#include "tests/support/catch.h"

namespace weft {

TEST_CASE("A full queue refuses and leaves the item alone", "[base]") {
  BoundedQueue<std::unique_ptr<int>> queue(1);
  CHECK(queue.TryPush(std::make_unique<int>(1)));
  auto second = std::make_unique<int>(2);
  CHECK_FALSE(queue.TryPush(second));
  REQUIRE(second != nullptr);
  CHECK(**queue.Pop() == 1);
  CHECK(queue.TryPush(second));
}

TEST_CASE("A closed queue gives what it holds, then nothing", "[base]") {
  BoundedQueue<int> queue(4);
  CHECK(queue.TryPush(7));
  queue.Close();
  CHECK_FALSE(queue.TryPush(8));
  CHECK(queue.Pop() == 7);
  CHECK_FALSE(queue.Pop().has_value());
}

TEST_CASE("A thread pool finishes what was queued before it goes", "[base]") {
  std::atomic<int> done = 0;
  {
    ThreadPool pool("test", 2, 100);
    for (int i = 0; i < 100; ++i) {
      while (!pool.TrySubmit([&] { ++done; })) {
      }
    }
  }
  CHECK(done == 100);
}

}  // namespace weft
