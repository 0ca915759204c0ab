#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "tests/support/catch.h"
#include "tests/unit/ops/op_fixture.h"

namespace weft {
namespace {

using test::RawWeight;

TEST_CASE("Repack refuses scales that are not finite, naming tensor and row", "[ops]") {
  ThreadTeam team({.threads = 1});
  PageArena arena;
  for (const DType type : test::SupportedTypes()) {
    if (FindBlockFormat(type) == nullptr || type == DType::kMXFP4) continue;
    INFO(Name(type));
    RawWeight raw(type, 5, 256, 1);
    const size_t row = raw.bytes.size() / 5;
    raw.PutHalf(3 * row + test::ScaleFieldsOf(type).scale, std::numeric_limits<float>::infinity());
    const auto packed = Repack(raw.weight, "blk.0.attn_q.weight", team, arena);
    REQUIRE(packed.status().code() == absl::StatusCode::kInvalidArgument);
    const std::string message(Message(packed.status()));
    REQUIRE(message.find("blk.0.attn_q.weight: row 3") != std::string::npos);
  }
}

TEST_CASE("Repack refuses a Q4_0 scale whose offset overflows a half", "[ops]") {
  ThreadTeam team({.threads = 1});
  PageArena arena;
  RawWeight raw(DType::kQ4_0, 1, 32, 1);
  raw.PutHalf(0, 60000.0f);
  REQUIRE_FALSE(Repack(raw.weight, "w", team, arena).ok());
  raw.PutHalf(0, 8000.0f);
  REQUIRE(Repack(raw.weight, "w", team, arena).ok());
}

TEST_CASE("Repack names the tensor whose type is not supported", "[ops]") {
  ThreadTeam team({.threads = 1});
  PageArena arena;
  Weight weight;
  weight.type = DType::kIQ2_XS;
  weight.rows = 1;
  weight.cols = 256;
  const auto packed = Repack(weight, "output.weight", team, arena);
  REQUIRE(packed.status().code() == absl::StatusCode::kUnimplemented);
  REQUIRE(Message(packed.status()) == "tensor output.weight: type IQ2_XS is not supported");
}

TEST_CASE("Repack says of every raw byte once that it is taken", "[ops]") {
  ThreadTeam team({.threads = 2});
  PageArena arena;
  for (const int64_t rows : {1, 16, 300, 1001}) {
    const RawWeight raw(DType::kQ8_0, rows, 64, 1);
    std::vector<int> taken(raw.bytes.size());
    const auto packed =
        Repack(raw.weight, "w", team, arena, [&](const uint8_t* data, uint64_t bytes) {
          const auto first = static_cast<uint64_t>(data - raw.bytes.data());
          for (uint64_t i = first; i < first + bytes; ++i) ++taken.at(i);
        });
    REQUIRE(packed.ok());
    REQUIRE(std::count(taken.begin(), taken.end(), 1) == static_cast<int64_t>(taken.size()));
  }
}

TEST_CASE("Repack pads the last group with rows of zeros", "[ops]") {
  ThreadTeam team({.threads = 1});
  PageArena arena;
  const RawWeight raw(DType::kF32, 17, 3, 1);
  const Weight weight = Repack(raw.weight, "w", team, arena).value();
  REQUIRE(weight.groups() == 2);
  REQUIRE(weight.packed_bytes == 2u * 3 * 16 * 4);
  const auto* values = reinterpret_cast<const float*>(weight.packed);
  const auto* source = reinterpret_cast<const float*>(raw.bytes.data());
  REQUIRE(values[48 + 2 * 16] == source[16 * 3 + 2]);
  for (int lane = 1; lane < 16; ++lane) REQUIRE(values[48 + lane] == 0.0f);
}

}  // namespace
}  // namespace weft
