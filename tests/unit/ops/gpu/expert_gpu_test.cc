#include "libs/ops/expert_gpu.h"

#include <algorithm>
#include <random>

#include "libs/ops/matmul_tiled_gpu.h"
#include "tests/unit/ops/gpu/rig.h"

namespace weft {
namespace {

using test::RandomFloats;

std::vector<int32_t> RandomChoices(int32_t slots, int32_t experts, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> chosen;
  // Squared: some experts are much in demand, some not at all.
  for (int32_t i = 0; i < slots; ++i) {
    const double at = static_cast<double>(random() % 1000) / 1000;
    chosen.push_back(static_cast<int32_t>(at * at * experts));
  }
  return chosen;
}

struct Sorted {
  std::vector<int32_t> place, row_at, first;
  std::vector<gpu::ExpertTile> tiles;
};

Sorted OnRef(const std::vector<int32_t>& chosen, int32_t used, int32_t experts) {
  Sorted out;
  out.place.resize(chosen.size());
  out.row_at.resize(chosen.size());
  out.first.resize(static_cast<size_t>(experts) + 1);
  test::RefContext ref;
  RefOps().permute({.chosen = chosen.data(),
                    .rows = static_cast<int64_t>(chosen.size()) / used,
                    .used = used,
                    .experts = experts,
                    .place = out.place.data(),
                    .row_at = out.row_at.data(),
                    .first = out.first.data()},
                   ref.context);
  return out;
}

Sorted OnGpu(const std::vector<int32_t>& chosen, int32_t used, int32_t experts) {
  test::Rig rig;
  const auto slots = static_cast<int64_t>(chosen.size());
  const auto count = static_cast<size_t>(gpu::MostExpertTiles(slots, experts));
  const auto in = rig.Put(chosen);
  const auto place = rig.Room<int32_t>(chosen.size()), row_at = rig.Room<int32_t>(chosen.size());
  const auto first = rig.Room<int32_t>(static_cast<size_t>(experts) + 1);
  const auto tiles = rig.Room<gpu::ExpertTile>(count);
  rig.Run(gpu::PermuteExperts({.chosen = in.get(),
                               .place = place.get(),
                               .row_at = row_at.get(),
                               .first = first.get(),
                               .tiles = tiles.get(),
                               .slots = static_cast<int32_t>(slots),
                               .used = used,
                               .experts = experts,
                               .tile_count = static_cast<int32_t>(count),
                               .tile_rows = gpu::ExpertTileRows(slots, experts)},
                              rig.stream()));
  return {rig.Get(place), rig.Get(row_at), rig.Get(first), rig.Get(tiles)};
}

TEST_CASE("Experts are chosen on the GPU as the oracle chooses them", "[gpu][expert]") {
  for (const auto& [experts, used, groups, groups_used, scoring, normalise] :
       {std::tuple{1, 1, 1, 1, ExpertScoring::kSoftmax, true},
        std::tuple{8, 2, 1, 1, ExpertScoring::kSoftmax, true},
        std::tuple{61, 61, 1, 1, ExpertScoring::kSigmoid, false},
        std::tuple{128, 8, 1, 1, ExpertScoring::kSoftmax, false},
        std::tuple{160, 6, 8, 3, ExpertScoring::kSoftmax, false},
        std::tuple{512, 40, 1, 1, ExpertScoring::kSoftmax, true},
        std::tuple{24, 12, 4, 1, ExpertScoring::kSoftmax, false},
        std::tuple{24, 5, 4, 2, ExpertScoring::kSigmoid, true}}) {
    constexpr int32_t kRows = 7;
    INFO(experts << " experts, " << used << " used of " << groups_used << "/" << groups);
    std::vector<float> expected = RandomFloats(static_cast<size_t>(kRows * experts), 51, 2.0f);
    const auto slots = static_cast<size_t>(kRows * used);
    test::Rig rig;
    const auto logits = rig.Put(expected);
    const auto chosen = rig.Room<int32_t>(slots);
    const auto weights = rig.Room<float>(slots);
    rig.Run(gpu::RouteExperts({.logits = logits.get(),
                               .chosen = chosen.get(),
                               .weights = weights.get(),
                               .rows = kRows,
                               .experts = experts,
                               .used = used,
                               .groups = groups,
                               .groups_used = groups_used,
                               .normalise = normalise ? 1 : 0,
                               .scale = 2.5f,
                               .scoring = scoring},
                              rig.stream()));
    std::vector<int32_t> ref_chosen(slots);
    std::vector<float> ref_weights(slots);
    test::RefContext ref;
    RefOps().route({.logits = expected.data(),
                    .rows = kRows,
                    .experts = experts,
                    .used = used,
                    .scoring = scoring,
                    .groups = groups,
                    .groups_used = groups_used,
                    .normalise = normalise,
                    .scale = 2.5f,
                    .chosen = ref_chosen.data(),
                    .weights = ref_weights.data()},
                   ref.context);
    REQUIRE(rig.Get(chosen) == ref_chosen);
    REQUIRE(test::RelativeError(rig.Get(weights), ref_weights) < 1e-5);
    REQUIRE(test::RelativeError(rig.Get(logits), expected) < 1e-5);
  }
}

TEST_CASE("Equal experts are chosen by number on the GPU too", "[gpu][expert]") {
  test::Rig rig;
  const auto logits = rig.Put(std::vector<float>(70, 1.0f));
  const auto chosen = rig.Room<int32_t>(4);
  const auto weights = rig.Room<float>(4);
  rig.Run(gpu::RouteExperts({.logits = logits.get(),
                             .chosen = chosen.get(),
                             .weights = weights.get(),
                             .rows = 1,
                             .experts = 70,
                             .used = 4},
                            rig.stream()));
  REQUIRE(rig.Get(chosen) == std::vector<int32_t>{0, 1, 2, 3});
}

TEST_CASE("Slots are sorted by expert, and tiles hold every place once", "[gpu][expert]") {
  for (const auto& [rows, used, experts] :
       {std::tuple{1, 1, 1}, {1, 8, 128}, {37, 3, 6}, {130, 4, 16}}) {
    INFO(rows << " rows, " << used << " of " << experts);
    const std::vector<int32_t> chosen = RandomChoices(rows * used, experts, 5);
    const Sorted expected = OnRef(chosen, used, experts);
    const Sorted found = OnGpu(chosen, used, experts);
    REQUIRE(found.place == expected.place);
    REQUIRE(found.row_at == expected.row_at);
    REQUIRE(found.first == expected.first);
    const int32_t most = gpu::ExpertTileRows(rows * used, experts);
    int32_t next = 0;
    for (const gpu::ExpertTile& tile : found.tiles) {
      if (tile.rows == 0) continue;
      REQUIRE(tile.rows <= most);
      REQUIRE(tile.first == next);
      REQUIRE(tile.first >= expected.first[static_cast<size_t>(tile.expert)]);
      next += tile.rows;
      REQUIRE(next <= expected.first[static_cast<size_t>(tile.expert) + 1]);
    }
    REQUIRE(next == rows * used);
  }
}

TEST_CASE("A row's product with its expert has the bits of a plain product", "[gpu][expert]") {
  constexpr int32_t kExperts = 3;
  constexpr int64_t kOutputs = 24, kCols = 256;
  for (const DType type :
       {DType::kBF16, DType::kQ4_0, DType::kQ4_1, DType::kQ8_0, DType::kQ4_K, DType::kQ6_K}) {
    for (const int32_t slots : {5, 40}) {
      INFO(Name(type) << ", " << slots << " slots");
      test::Rig rig;
      const auto row_bytes = static_cast<int64_t>(*BytesFor(type, kCols));
      const int64_t stride = (kOutputs * row_bytes + 255) / 256 * 256;
      std::vector<uint8_t> all(static_cast<size_t>(kExperts * stride));
      for (int32_t e = 0; e < kExperts; ++e) {
        const test::RawWeight raw(type, kOutputs, kCols, static_cast<uint32_t>(60 + e));
        std::copy(raw.bytes.begin(), raw.bytes.end(), all.begin() + e * stride);
      }
      std::vector<int32_t> chosen = RandomChoices(slots, kExperts, 9);
      std::sort(chosen.begin(), chosen.end());
      const Sorted sorted = OnGpu(chosen, 1, kExperts);
      const auto weights = rig.Put(all);
      const auto tiles = rig.Put(sorted.tiles);
      const auto x = rig.Put(test::ToBf16(RandomFloats(static_cast<size_t>(slots * kCols), 61)));
      const auto out = rig.Room<float>(static_cast<size_t>(slots * kOutputs));
      const auto plain = rig.Room<float>(static_cast<size_t>(slots * kOutputs));
      gpu::SkinnyParams params{.weights = weights.get(),
                               .x = x.get(),
                               .bias = nullptr,
                               .out = out.get(),
                               .outputs = kOutputs,
                               .cols = kCols,
                               .row_bytes = row_bytes,
                               .rows = slots};
      params.experts = {.tiles = tiles.get(),
                        .count = static_cast<int32_t>(sorted.tiles.size()),
                        .tile_rows = gpu::ExpertTileRows(slots, kExperts),
                        .bytes = stride};
      rig.Run(gpu::SkinnyMatmul(type, params, rig.stream()));
      const std::vector<float> found = rig.Get(out);
      rig.Run(gpu::TiledMatmul(type, gpu::Numerics::kExact, params, rig.stream()));
      REQUIRE(rig.Get(out) == found);
      params.experts = {};
      params.out = plain.get();
      for (int32_t e = 0; e < kExperts; ++e) {
        params.weights = weights.get() + e * stride;
        rig.Run(gpu::SkinnyMatmul(type, params, rig.stream()));
        const std::vector<float> expected = rig.Get(plain);
        const int64_t begin = sorted.first[static_cast<size_t>(e)] * kOutputs;
        const int64_t end = sorted.first[static_cast<size_t>(e) + 1] * kOutputs;
        REQUIRE(std::equal(found.begin() + begin, found.begin() + end, expected.begin() + begin));
      }
    }
  }
}

TEST_CASE("Rows are gathered and combined in the order of their slots", "[gpu][expert]") {
  constexpr int32_t kRows = 9, kUsed = 3, kWidth = 264;
  constexpr size_t kSlots = kRows * kUsed;
  const Sorted sorted = OnRef(RandomChoices(kSlots, 5, 3), kUsed, 5);
  test::Rig rig;
  const std::vector<uint16_t> x = test::ToBf16(RandomFloats(kRows * kWidth, 1));
  const auto in = rig.Put(x);
  const auto row_at = rig.Put(sorted.row_at);
  const auto gathered = rig.Room<uint16_t>(kSlots * kWidth);
  rig.Run(gpu::GatherRows({.x = in.get(),
                           .row_at = row_at.get(),
                           .out = gathered.get(),
                           .rows = kSlots,
                           .width = kWidth},
                          rig.stream()));
  test::RequireCost(0.95);
  const std::vector<uint16_t> rows = rig.Get(gathered);
  for (size_t i = 0; i < kSlots; ++i) {
    const auto from = x.begin() + sorted.row_at[i] * kWidth;
    REQUIRE(std::equal(from, from + kWidth, rows.begin() + static_cast<int64_t>(i) * kWidth));
  }

  const std::vector<float> y = RandomFloats(kSlots * kWidth, 2), weights = RandomFloats(kSlots, 3);
  const std::vector<float> base = RandomFloats(kRows * kWidth, 4);
  const auto gpu_y = rig.Put(y), gpu_weights = rig.Put(weights);
  const auto place = rig.Put(sorted.place);
  for (const bool add : {false, true}) {
    const auto out = rig.Put(base);
    rig.Run(gpu::CombineExperts({.x = gpu_y.get(),
                                 .place = place.get(),
                                 .weights = gpu_weights.get(),
                                 .base = add ? out.get() : nullptr,
                                 .out = out.get(),
                                 .rows = kRows,
                                 .used = kUsed,
                                 .width = kWidth},
                                rig.stream()));
    test::RequireCost(0.95);
    std::vector<float> expected = base;
    test::RefContext ref;
    RefOps().combine({.x = y.data(),
                      .place = sorted.place.data(),
                      .weights = weights.data(),
                      .base = add ? expected.data() : nullptr,
                      .rows = kRows,
                      .used = kUsed,
                      .width = kWidth,
                      .out = expected.data()},
                     ref.context);
    REQUIRE(test::RelativeError(rig.Get(out), expected) < 1e-6);
  }
}

}  // namespace
}  // namespace weft
