#include "libs/device/cpu_features.h"

#include <cstdlib>
#include <string>

#include "libs/base/status.h"
#include "tests/support/catch.h"

namespace weft {
namespace {

TEST_CASE("ResolveIsa takes the named level, WEFT_ISA or the best one", "[device]") {
  const char* before = std::getenv("WEFT_ISA");
  const std::string saved = before == nullptr ? "" : before;
  unsetenv("WEFT_ISA");
  REQUIRE(ResolveIsa("auto").value() == AvailableIsas().back());
  REQUIRE(ResolveIsa("scalar").value() == Isa::kScalar);
  setenv("WEFT_ISA", "scalar", 1);
  REQUIRE(ResolveIsa("auto").value() == Isa::kScalar);
  setenv("WEFT_ISA", "sse9", 1);
  const auto bad = ResolveIsa("auto");
  REQUIRE(bad.status().code() == absl::StatusCode::kInvalidArgument);
  REQUIRE(std::string(Message(bad.status())).find("WEFT_ISA") != std::string::npos);
  REQUIRE(ResolveIsa("sse9").status().code() == absl::StatusCode::kInvalidArgument);
#if defined(__x86_64__)
  REQUIRE(ResolveIsa("neon").status().code() == absl::StatusCode::kFailedPrecondition);
#elif defined(__aarch64__)
  REQUIRE(ResolveIsa("neon").value() == Isa::kNeon);
  REQUIRE(ResolveIsa("avx2").status().code() == absl::StatusCode::kFailedPrecondition);
#endif
  if (saved.empty()) {
    unsetenv("WEFT_ISA");
  } else {
    setenv("WEFT_ISA", saved.c_str(), 1);
  }
}

TEST_CASE("AvailableIsas always holds the portable level first", "[device]") {
  REQUIRE(AvailableIsas().front() == Isa::kScalar);
  REQUIRE(AvailableCpus() >= 1);
}

}  // namespace
}  // namespace weft
