#include "libs/ops/feed_gpu.h"

#include "tests/unit/ops/gpu/rig.h"

namespace weft {
namespace {

TEST_CASE("Rows take the tokens that the step before chose", "[gpu][feed]") {
  test::Rig rig;
  std::vector<int32_t> tokens(300), fed(300, -1);
  for (int32_t i = 0; i < 300; ++i) tokens[static_cast<size_t>(i)] = 1000 + i;
  fed[0] = 2, fed[129] = 0, fed[299] = 1;
  const auto device_tokens = rig.Put(tokens);
  const auto device_fed = rig.Put(fed);
  const auto chosen = rig.Put(std::vector<int32_t>{7, -1, 9});
  rig.Run(gpu::Feed(
      {.tokens = device_tokens.get(), .fed = device_fed.get(), .chosen = chosen.get(), .rows = 300},
      rig.stream()));
  tokens[0] = 9, tokens[129] = 7, tokens[299] = 0;  // a row without a choice goes on with 0
  CHECK(rig.Get(device_tokens) == tokens);
}

TEST_CASE("A token that the step before chose counts among the edits of its row", "[gpu][feed]") {
  test::Rig rig;
  constexpr int32_t kMany = 70;  // more than a warp looks at at once
  std::vector<gpu::LogitEdit> edits;
  std::vector<gpu::SampleRow> rows(4);
  const auto add = [&](size_t row, int32_t count) {
    rows[row].first_edit = static_cast<int32_t>(edits.size());
    rows[row].edits = count + 1;
    for (int32_t i = 0; i < count; ++i) edits.push_back({.token = 100 + i, .bias = 0.5f});
    edits.push_back({.token = -1});
  };
  add(0, kMany);  // has an edit of it
  add(1, 3);      // has none
  add(2, 3);      // nothing was chosen
  rows[3].first_edit = static_cast<int32_t>(edits.size());
  rows[3].edits = 1;  // takes no part
  edits.push_back({.token = 5, .count = 2});
  const auto device_rows = rig.Put(rows);
  const auto device_edits = rig.Put(edits);
  const auto chosen = rig.Put(std::vector<int32_t>{100 + kMany - 1, 4, -1});
  const auto counted = rig.Put(std::vector<int32_t>{0, 1, 2, -1});
  rig.Run(gpu::Feed({.chosen = chosen.get(),
                     .of = device_rows.get(),
                     .edits = device_edits.get(),
                     .counted = counted.get(),
                     .choices = 4},
                    rig.stream()));
  const std::vector<gpu::SampleRow> now = rig.Get(device_rows);
  const std::vector<gpu::LogitEdit> then = rig.Get(device_edits);
  CHECK(now[0].edits == kMany);
  const gpu::LogitEdit& own = then[kMany - 1];
  CHECK((own.token == 100 + kMany - 1 && own.count == 1 && own.repeated == 1 && own.bias == 0.5f));
  CHECK(then[0].count == 0);
  CHECK(now[1].edits == 4);
  const gpu::LogitEdit& fresh = then[static_cast<size_t>(rows[1].first_edit + 3)];
  CHECK((fresh.token == 4 && fresh.count == 1 && fresh.repeated == 1 && fresh.banned == 0));
  CHECK(now[2].edits == 3);
  CHECK((now[3].edits == 1 && then.back().count == 2));
}

}  // namespace
}  // namespace weft
