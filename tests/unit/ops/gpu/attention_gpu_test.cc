#include "libs/ops/attention_gpu.h"

#include <algorithm>

#include "libs/device/number_types.h"
#include "libs/ops/prefill_gpu.h"
#include "libs/ops/prefill_wgmma_gpu.h"
#include "tests/unit/ops/gpu/paged_rows.h"
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

enum class By { kPaged, kPrefill, kMixed, kWgmma };

// Both caches hold the same random keys and values.
class Scene {
 public:
  explicit Scene(const Case& c) : c_(c), of_(c.sequences, c.block_tokens) {
    const auto elements = n(int64_t{of_.pages} * c.kv_heads * c.block_tokens * c.head_dim);
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
    q_ = RandomFloats(n(int64_t{of_.rows} * c.heads * c.head_dim), 4);
    for (float& x : q_) {
      x = c.kv == gpu::KvType::kBf16 ? gpu::ToFloat(gpu::FromFloat<gpu::Bf16>(x))
                                     : HalfToFloat(FloatToHalf(x));
    }
  }

  std::vector<float> OnRef() {
    std::vector<float> out(q_.size());
    std::vector<AttentionSequence> sequences;
    for (size_t i = 0; i < of_.sequences.size(); ++i) {
      const auto [tokens, rows] = of_.sequences[i];
      sequences.push_back(
          {of_.first_rows[i], rows, tokens - rows, of_.tables.data() + of_.tables_at[i]});
    }
    test::RefContext ref;
    PagedAttentionArgs args{
        .q = q_.data(),
        .rows = of_.rows,
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

  // Rows of a block at most `together`. kPaged: with a block for each chunk, or one for all. kMixed
  // and kWgmma spread sequences of one row, and have prefill blocks for the others.
  std::vector<float> OnGpu(By by, bool spread = false, int32_t together = 128) {
    const int32_t few = std::min(together, gpu::AttentionItemRows(c_.heads, c_.kv_heads));
    const int32_t many =
        std::min(together, gpu::PrefillItemRows(c_.heads, c_.kv_heads, c_.head_dim));
    const bool apart = by == By::kMixed || by == By::kWgmma;
    const auto in_prefill = [&](int32_t rows) { return by == By::kPrefill || (apart && rows > 1); };
    const test::AttentionLaunch launch(
        rig_, of_, c_.heads, c_.head_dim,
        of_.Items(few, spread || apart, [&](int32_t rows) { return !in_prefill(rows); }),
        of_.Items(many, false, in_prefill));
    const auto gpu_q = rig_.Put(q_);
    const auto k = rig_.Put(gpu_k_), v = rig_.Put(gpu_v_);
    const auto out = rig_.Room<float>(q_.size());
    const auto out_bf16 = rig_.Room<uint16_t>(q_.size());
    gpu::AttentionParams params = launch.params();
    params.q = gpu_q.get();
    params.k_pages = reinterpret_cast<const uint16_t*>(k.get());
    params.v_pages = reinterpret_cast<const uint16_t*>(v.get());
    params.out = out.get();
    params.out_bf16 = out_bf16.get();
    params.scale = kScale;
    params.softcap = c_.softcap;
    params.window = c_.window;
    params.kv_heads = c_.kv_heads;
    params.kv_type = c_.kv;
    rig_.Run(by == By::kPaged   ? gpu::PagedAttention(params, rig_.stream())
             : by == By::kWgmma ? gpu::WgmmaAttention(params, rig_.stream())
                                : gpu::MixedAttention(params, rig_.stream()));
    // Rows of heads whose 16 bytes are no multiple of eight share passes with their neighbours.
    const bool whole = c_.head_dim % 64 == 0;
    // The merge's rows of 80 floats straddle warps.
    if (c_.head_dim != 80) {
      test::RequireCost(0.95, whole ? test::Conflictless::kAll : test::Conflictless::kLoads);
    }
    rig_.Run(gpu::MergeAttention(params, rig_.stream()));
    const std::vector<float> found = rig_.Get(out);
    REQUIRE(rig_.Get(out_bf16) == test::ToBf16(found));
    return found;
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
    uint16_t bits = FloatToHalf(value);
    uint16_t half = bits;
    if (c_.kv == gpu::KvType::kBf16) {
      bits = gpu::FromFloat<gpu::Bf16>(value).bits;
      half = FloatToHalf(gpu::ToFloat(gpu::Bf16{bits}));
    }
    std::memcpy(&pages[2 * i], &bits, 2);
    return half;
  }

  const Case c_;
  const test::PagedRows of_;
  test::Rig rig_;
  std::vector<float> q_;
  std::vector<uint16_t> ref_k_, ref_v_;
  std::vector<uint8_t> gpu_k_, gpu_v_;
};

void Check(const Case& c) {
  INFO("head_dim " << c.head_dim << " heads " << c.heads << "/" << c.kv_heads << " window "
                   << c.window << " softcap " << c.softcap);
  Scene scene(c);
  const std::vector<float> walked = scene.OnGpu(By::kPaged);
  // Weights are rounded to half before they meet the values: 2^-11 each, less for their mean.
  REQUIRE(test::RelativeError(walked, scene.OnRef()) < 1e-3);
  REQUIRE(test::SameBits(scene.OnGpu(By::kPaged, /*spread=*/true), walked));
  REQUIRE(test::SameBits(scene.OnGpu(By::kPrefill), walked));
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
  const std::vector<float> walked = scene.OnGpu(By::kPaged);
  REQUIRE(test::SameBits(scene.OnGpu(By::kPaged, false, /*together=*/1), walked));
  REQUIRE(test::SameBits(scene.OnGpu(By::kPrefill, false, /*together=*/2), walked));
}

TEST_CASE("Prompts and decode rows of one launch have the bits of launches of their own",
          "[gpu][attention][mixed]") {
  const Case cases[] = {
      {.head_dim = 16,
       .heads = 4,
       .kv_heads = 2,
       .sequences = {{1, 1}, {70, 66}, {530, 1}, {9, 9}}},
      {.head_dim = 64, .heads = 6, .kv_heads = 2, .sequences = {{33, 1}, {40, 40}, {17, 1}}},
      {.head_dim = 256, .heads = 2, .kv_heads = 1, .sequences = {{20, 1}, {20, 7}, {3, 1}}},
      {.head_dim = 32, .sequences = {{20, 20}, {30, 1}}, .window = 9, .kv = gpu::KvType::kFp8},
      {.head_dim = 32, .sequences = {{530, 1}, {20, 1}}}};
  for (const Case& c : cases) {
    INFO("head_dim " << c.head_dim);
    Scene scene(c);
    REQUIRE(test::SameBits(scene.OnGpu(By::kMixed), scene.OnGpu(By::kPaged)));
  }
}

TEST_CASE("Prefill attention by warpgroups is the oracle's, decode rows beside it",
          "[gpu][attention][wgmma]") {
  const auto half = gpu::KvType::kHalf, bf16 = gpu::KvType::kBf16;
  const Case cases[] = {
      {.head_dim = 64, .sequences = {{150, 140}, {300, 3}, {77, 1}}, .kv = half},
      {.head_dim = 64,
       .heads = 2,
       .kv_heads = 2,
       .sequences = {{400, 20}},
       .window = 150,
       .kv = half},
      {.head_dim = 64, .sequences = {{40, 40}}, .softcap = 5.0f, .block_tokens = 16, .kv = half},
      {.head_dim = 128, .heads = 8, .kv_heads = 1, .sequences = {{290, 30}, {600, 1}}, .kv = bf16},
      {.head_dim = 128,
       .heads = 2,
       .kv_heads = 2,
       .sequences = {{129, 129}},
       .block_tokens = 256,
       .kv = bf16}};
  for (const Case& c : cases) {
    INFO("head_dim " << c.head_dim << " window " << c.window << " pages of " << c.block_tokens);
    Scene scene(c);
    const std::vector<float> found = scene.OnGpu(By::kWgmma);
    // Weights are rounded to the pages' type before they meet the values.
    REQUIRE(test::RelativeError(found, scene.OnRef()) < (c.kv == half ? 1e-3 : 5e-3));
    REQUIRE(test::SameBits(scene.OnGpu(By::kWgmma, false, /*together=*/5), found));
  }
}

}  // namespace
}  // namespace weft
