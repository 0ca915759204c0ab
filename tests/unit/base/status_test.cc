#include "libs/base/status.h"

#include "tests/support/catch.h"

namespace weft {
namespace {

absl::StatusOr<int> Half(int x) {
  if (x % 2 != 0) return InvalidArgument("x: {} is odd", x);
  return x / 2;
}

absl::StatusOr<int> Quarter(int x) {
  WEFT_ASSIGN_OR_RETURN(const int half, Half(x));
  WEFT_ASSIGN_OR_RETURN(const int quarter, Half(half));
  return quarter;
}

}  // namespace

TEST_CASE("WEFT_ASSIGN_OR_RETURN hands on the first error", "[base]") {
  CHECK(Quarter(8).value() == 2);
  CHECK(ToString(Quarter(6).status()) == "INVALID_ARGUMENT: x: 3 is odd");
}

TEST_CASE("Annotate keeps the code and puts the context first", "[base]") {
  CHECK(ToString(Annotate(NotFound("no such key"), "keys.yaml:3")) ==
        "NOT_FOUND: keys.yaml:3: no such key");
  CHECK(Annotate(absl::OkStatus(), "context").ok());
}

}  // namespace weft
