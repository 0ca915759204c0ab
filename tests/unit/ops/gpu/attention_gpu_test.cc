#include "libs/ops/attention_gpu.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "libs/device/number_types.h"
#include "libs/ops/prefill_gpu.h"
#include "tests/unit/ops/gpu/rig.h"

namespace weft {
namespace {

using test::RandomFloats;

struct Case {
  int32_t head_dim = 64, heads = 9, kv_heads = 3;
  // Context lengths after the rows, and rows, of every sequence.
  std::vector<std::pair<int32_t, int32_t>> sequences;
  int32_t window = 0;
  float softcap = 0;
  int32_t block_tokens = 64;
  gpu::KvType kv = gpu::KvType::kHalf;
};

// Both caches hold the same random keys and values; pages are handed out in a scattered order.
class Scene {
 public:
  explicit Scene(const Case& c) : c_(c) {
    for (const auto& [tokens, rows] : c.sequences) {
      rows_ += rows;
      pages_ += (tokens + c.block_tokens - 1) / c.block_tokens;
    }
    std::vector<int32_t> order(n(pages_));
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), std::mt19937(3));
    const auto elements = n(int64_t{pages_} * c.kv_heads * c.block_tokens * c.head_dim);
    const std::vector<float> keys = RandomFloats(elements, 1), values = RandomFloats(elements, 2);
    ref_k_.resize(elements);
    ref_v_.resize(elements);
    gpu_k_.resize(elements * (bytes() ? 1 : 2));
    gpu_v_.resize(gpu_k_.size());
    for (size_t i = 0; i < elements; ++i) {  // [page, head, token, d]
      const size_t d = i % n(c.head_dim), token = i / n(c.head_dim) % n(c.block_tokens);
      const size_t head = i / n(c.head_dim) / n(c.block_tokens);
      ref_k_[(head * n(c.head_dim) + d) * n(c.block_tokens) + token] = Store(gpu_k_, i, keys[i]);
      ref_v_[i] = Store(gpu_v_, i, values[i]);
    }
    q_ = RandomFloats(n(int64_t{rows_} * c.heads * c.head_dim), 4);
    for (float& x : q_) x = HalfToFloat(FloatToHalf(x));
    int32_t row = 0, page = 0;
    for (const auto& [tokens, rows] : c.sequences) {
      tables_at_.push_back(page);
      for (int32_t i = 0; i < (tokens + c.block_tokens - 1) / c.block_tokens; ++i) {
        tables_.push_back(order[n(page++)]);
      }
      for (int32_t i = 0; i < rows; ++i) positions_.push_back(tokens - rows + i);
      first_rows_.push_back(row);
      row += rows;
    }
  }

  // By the prefill kernel, the rows of an item at most `together`.
  std::vector<float> Prefilled(int32_t together = 128) {
    const int32_t most = gpu::PrefillItemRows(c_.heads, c_.kv_heads, c_.head_dim);
    return Run(/*spread=*/false, std::min(together, most), /*prefill=*/true);
  }

  std::vector<float> OnRef() {
    std::vector<float> out(q_.size());
    std::vector<AttentionSequence> sequences;
    for (size_t i = 0; i < c_.sequences.size(); ++i) {
      const auto [tokens, rows] = c_.sequences[i];
      sequences.push_back({first_rows_[i], rows, tokens - rows, tables_.data() + tables_at_[i]});
    }
    test::RefContext ref;
    PagedAttentionArgs args{
        .q = q_.data(),
        .rows = rows_,
        .heads = c_.heads,
        .scale = kScale,
        .softcap = c_.softcap,
        .window = c_.window,
        .sequences = sequences,
        .cache = {ref_k_.data(), ref_v_.data()},
        .shape = {DType::kF16, c_.block_tokens, c_.kv_heads, c_.head_dim, c_.head_dim},
        .out = {}};
    args.out.data = out.data();
    args.out.width = int64_t{c_.heads} * c_.head_dim;
    RefOps().paged_attention(args, ref.context);
    return out;
  }

  // With a block for each chunk, or one for all; rows of one item at most `together`.
  std::vector<float> OnGpu(bool spread, int32_t together = 16) {
    const int32_t most = gpu::AttentionItemRows(c_.heads, c_.kv_heads);
    return Run(spread, std::min(together, most), /*prefill=*/false);
  }

 private:
  static constexpr float kScale = 0.3f;
  static size_t n(int64_t count) { return static_cast<size_t>(count); }

  bool bytes() const { return c_.kv == gpu::KvType::kFp8; }
  // Element i of pages becomes `value`, rounded; its half.
  uint16_t Store(std::vector<uint8_t>& pages, size_t i, float value) const {
    if (bytes()) {
      pages[i] = gpu::FromFloat<gpu::E4m3>(value).bits;
      return FloatToHalf(gpu::ToFloat(gpu::E4m3{pages[i]}));
    }
    const uint16_t half = FloatToHalf(value);
    std::memcpy(&pages[2 * i], &half, 2);
    return half;
  }

  std::vector<float> Run(bool spread, int32_t step, bool prefill) {
    std::vector<gpu::AttentionItem> items;
    int32_t chunks = 1;
    for (size_t i = 0; i < c_.sequences.size(); ++i) {
      const auto [tokens, rows] = c_.sequences[i];
      for (int32_t r = 0; r < rows; r += step) {
        items.push_back({first_rows_[i] + r, std::min(step, rows - r), tokens - rows + r,
                         tables_at_[i], spread ? 1 : 0});
      }
      if (spread) chunks = std::max(chunks, (tokens - 1) / gpu::kChunkTokens + 1);
    }
    const auto gpu_q = rig_.Put(q_);
    const auto k = rig_.Put(gpu_k_), v = rig_.Put(gpu_v_);
    const auto gpu_items = rig_.Put(items);
    const auto tables = rig_.Put(tables_), positions = rig_.Put(positions_);
    std::vector<int32_t> places(n(rows_), -1);
    if (spread) std::iota(places.begin(), places.end(), 0);
    const auto partial_rows = rig_.Put(places);
    const auto out = rig_.Room<float>(q_.size());
    const auto out_bf16 = rig_.Room<uint16_t>(q_.size());
    const auto partial_o = rig_.Room<float>(q_.size() * n(chunks));
    const auto partial_ml = rig_.Room<float>(n(int64_t{rows_} * c_.heads * chunks * 2));
    const gpu::AttentionParams params{.q = gpu_q.get(),
                                      .k_pages = reinterpret_cast<const uint16_t*>(k.get()),
                                      .v_pages = reinterpret_cast<const uint16_t*>(v.get()),
                                      .items = gpu_items.get(),
                                      .tables = tables.get(),
                                      .out = out.get(),
                                      .out_bf16 = out_bf16.get(),
                                      .partial_o = partial_o.get(),
                                      .partial_ml = partial_ml.get(),
                                      .positions = positions.get(),
                                      .partial_rows = partial_rows.get(),
                                      .scale = kScale,
                                      .softcap = c_.softcap,
                                      .window = c_.window,
                                      .item_count = static_cast<int32_t>(items.size()),
                                      .prefill_items = gpu_items.get(),
                                      .prefill_count = static_cast<int32_t>(items.size()),
                                      .rows = rows_,
                                      .heads = c_.heads,
                                      .kv_heads = c_.kv_heads,
                                      .head_dim = c_.head_dim,
                                      .block_tokens = c_.block_tokens,
                                      .chunks = chunks,
                                      .kv_type = c_.kv};
    rig_.Run(prefill ? gpu::PrefillAttention(params, rig_.stream())
                     : gpu::PagedAttention(params, rig_.stream()));
    // The merge's rows of 80 floats straddle warps.
    if (c_.head_dim != 80) test::RequireCost(0.95);
    rig_.Run(gpu::MergeAttention(params, rig_.stream()));
    const std::vector<float> found = rig_.Get(out);
    REQUIRE(rig_.Get(out_bf16) == test::ToBf16(found));
    return found;
  }

  const Case c_;
  test::Rig rig_;
  int32_t rows_ = 0, pages_ = 0;
  std::vector<float> q_;
  std::vector<uint16_t> ref_k_, ref_v_;
  std::vector<uint8_t> gpu_k_, gpu_v_;
  std::vector<int32_t> tables_, tables_at_, first_rows_, positions_;
};

void Check(const Case& c) {
  INFO("head_dim " << c.head_dim << " heads " << c.heads << "/" << c.kv_heads << " window "
                   << c.window << " softcap " << c.softcap);
  Scene scene(c);
  const std::vector<float> walked = scene.OnGpu(/*spread=*/false);
  // Weights are rounded to half before they meet the values: 2^-11 each, less for their mean.
  REQUIRE(test::RelativeError(walked, scene.OnRef()) < 1e-3);
  REQUIRE(test::SameBits(scene.OnGpu(/*spread=*/true), walked));
  REQUIRE(test::SameBits(scene.Prefilled(), walked));
}

TEST_CASE("Paged attention of the GPU is the oracle's at every head size", "[gpu][attention]") {
  for (const int32_t dim : {16, 32, 64, 80, 96, 128, 256}) {
    Check({.head_dim = dim, .heads = 4, .kv_heads = 2, .sequences = {{70, 1}, {5, 5}}});
  }
}

TEST_CASE("Contexts of several chunks give the same bits spread and walked over",
          "[gpu][attention]") {
  Check({.head_dim = 32, .sequences = {{1100, 1}, {513, 2}, {512, 1}, {1, 1}}});
}

TEST_CASE("Groups of 1, 3, 8 and 20 heads share keys", "[gpu][attention]") {
  for (const int32_t group : {1, 3, 8, 20}) {
    Check({.head_dim = 32, .heads = 2 * group, .kv_heads = 2, .sequences = {{33, 1}, {21, 20}}});
  }
}

TEST_CASE("A prompt of several blocks has the bits of single rows", "[gpu][attention][prefill]") {
  Check({.head_dim = 16, .heads = 2, .kv_heads = 2, .sequences = {{150, 140}, {3, 3}}});
  Check({.head_dim = 64, .heads = 4, .kv_heads = 1, .sequences = {{75, 40}}, .window = 20});
}

TEST_CASE("Pages of FP8 hold what the oracle reads", "[gpu][attention][kv]") {
  for (const int32_t dim : {16, 64, 80, 128, 256}) {
    Check({.head_dim = dim,
           .heads = 4,
           .kv_heads = 2,
           .sequences = {{70, 1}, {5, 5}},
           .kv = gpu::KvType::kFp8});
  }
  Check({.head_dim = 32, .sequences = {{700, 3}}, .window = 520, .kv = gpu::KvType::kFp8});
}

TEST_CASE("A sliding window and a cap of the scores hold across chunks", "[gpu][attention]") {
  Check({.head_dim = 32, .sequences = {{700, 3}, {20, 2}}, .window = 30});
  Check({.head_dim = 32, .sequences = {{700, 3}, {530, 1}}, .window = 520, .softcap = 5.0f});
  Check({.head_dim = 32, .sequences = {{40, 2}}, .softcap = 20.0f, .block_tokens = 16});
}

TEST_CASE("A row has the same bits whatever rows are computed beside it", "[gpu][attention]") {
  Scene scene({.head_dim = 32, .sequences = {{540, 6}}});
  REQUIRE(test::SameBits(scene.OnGpu(false, /*together=*/1), scene.OnGpu(false)));
  REQUIRE(test::SameBits(scene.Prefilled(/*together=*/2), scene.OnGpu(false)));
}

}  // namespace
}  // namespace weft
