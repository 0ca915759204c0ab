#include "services/scheduler/router.h"

#include <vector>

#include "tests/support/catch.h"

using namespace weft::scheduler;  // NOLINT: a test of one header

namespace {

RouteCandidate Idle(uint64_t link) {
  RouteCandidate c;
  c.link = link;
  c.usable = true;
  c.max_in_flight = 8;
  c.max_blocks = 100;
  return c;
}

const RouteNeed kNeed{640, 12};

}  // namespace

TEST_CASE("ChooseWorker takes the least loaded worker", "[scheduler]") {
  std::vector<RouteCandidate> c = {Idle(1), Idle(2), Idle(3)};
  c[0].in_flight = 3;
  c[1].in_flight = 1;
  c[2].in_flight = 2;
  CHECK(ChooseWorker(c, kNeed) == 1);
  c[1].pending_prefill = 5000;
  CHECK(ChooseWorker(c, kNeed) == 2);
}

TEST_CASE("ChooseWorker prefers a cached prefix until the load outweighs it", "[scheduler]") {
  std::vector<RouteCandidate> c = {Idle(1), Idle(2)};
  c[1].cached_tokens = 512;
  c[1].in_flight = 4;
  CHECK(ChooseWorker(c, kNeed) == 1);
  c[1].pending_prefill = 2048;
  CHECK(ChooseWorker(c, kNeed) == 0);
}

TEST_CASE("ChooseWorker respects credits and blocks, but an empty worker takes anything",
          "[scheduler]") {
  std::vector<RouteCandidate> c = {Idle(1)};
  c[0].in_flight = 8;
  CHECK_FALSE(ChooseWorker(c, kNeed));
  c[0].in_flight = 1;
  c[0].blocks_in_flight = 89;
  CHECK_FALSE(ChooseWorker(c, kNeed));
  c[0].in_flight = 0;
  c[0].max_blocks = 1;
  CHECK(ChooseWorker(c, kNeed) == 0);
  c[0].max_in_flight = 0;
  CHECK_FALSE(ChooseWorker(c, kNeed));
}

TEST_CASE("ChooseWorker keeps a sequence in its numerics class when it can", "[scheduler]") {
  std::vector<RouteCandidate> c = {Idle(1), Idle(2)};
  c[0].same_numerics = false;
  c[1].in_flight = 7;
  CHECK(ChooseWorker(c, kNeed) == 1);
  c[1].usable = false;
  CHECK(ChooseWorker(c, kNeed) == 0);
}

TEST_CASE("ChooseWorker waits when there is no worker", "[scheduler]") {
  CHECK_FALSE(ChooseWorker({}, kNeed));
}
