#include "libs/model/memory.h"

#include "libs/base/status.h"
#include "tests/support/catch.h"

namespace weft {
namespace {

TEST_CASE("A model that does not fit is refused before it is loaded, with the bytes", "[model]") {
  const MemoryNeed need{.weights = 700, .kv = 200, .scratch = 100};
  REQUIRE(CheckMemory(need, {.bytes = 1000}).ok());
  const absl::Status status = CheckMemory(need, {.bytes = 999, .limit = "/cgroup/memory.max"});
  REQUIRE(status.code() == absl::StatusCode::kResourceExhausted);
  REQUIRE(
      Message(status) ==
      "not enough memory: 1000 bytes are needed (700 for weights, 200 for the KV cache, 100 for "
      "activations), 999 are available (/cgroup/memory.max)");
}

}  // namespace
}  // namespace weft
