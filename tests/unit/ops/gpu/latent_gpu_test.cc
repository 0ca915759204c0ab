#include "libs/ops/latent_gpu.h"

#include "tests/unit/ops/gpu/paged_rows.h"
#include "tests/unit/ops/gpu/rig.h"

namespace weft {
namespace {

using test::RandomFloats;

size_t n(int64_t count) { return static_cast<size_t>(count); }

TEST_CASE("A product for each head is a plain sum, of either layout of its weights",
          "[gpu][latent]") {
  for (const auto& [transposed, rows, heads, inner, outputs] :
       {std::tuple{0, 3, 2, 24, 136}, {1, 19, 3, 136, 24}, {0, 1, 1, 128, 64}, {1, 2, 2, 64, 16}}) {
    INFO((transposed != 0 ? "w[n][k]" : "w[k][n]") << " " << inner << " to " << outputs);
    const int64_t elements = int64_t{inner} * outputs + 64;
    const auto weights = test::ToBf16(RandomFloats(n(heads * elements), 1));
    const auto w = test::FromBf16(weights);
    const auto x = test::ToBf16(RandomFloats(n(int64_t{rows} * heads * inner), 2));
    const std::vector<float> values = test::FromBf16(x);
    std::vector<float> expected;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t h = 0; h < heads; ++h) {
        for (int64_t o = 0; o < outputs; ++o) {
          double sum = 0;
          for (int64_t k = 0; k < inner; ++k) {
            const int64_t at = transposed != 0 ? o * inner + k : k * outputs + o;
            sum += static_cast<double>(w[n(h * elements + at)]) *
                   static_cast<double>(values[n((r * heads + h) * inner + k)]);
          }
          expected.push_back(static_cast<float>(sum));
        }
      }
    }
    test::Rig rig;
    const auto gpu_w = rig.Put(weights);
    const auto gpu_x = rig.Put(x);
    const auto floats = rig.Put(values);
    const auto out = rig.Room<float>(expected.size());
    const auto out_bf16 = rig.Room<uint16_t>(expected.size());
    for (const bool rounded : {false, true}) {
      rig.Run(gpu::HeadProduct({.weights = gpu_w.get(),
                                .x = rounded ? nullptr : floats.get(),
                                .x_bf16 = rounded ? gpu_x.get() : nullptr,
                                .out = out.get(),
                                .out_bf16 = out_bf16.get(),
                                .head_elements = elements,
                                .x_row = int64_t{heads} * inner,
                                .x_head = inner,
                                .out_row = int64_t{heads} * outputs,
                                .out_head = outputs,
                                .transposed = transposed,
                                .rows = rows,
                                .heads = heads,
                                .inner = inner,
                                .outputs = outputs},
                               rig.stream()));
      if (inner % 64 == 0 && outputs % 64 == 0) test::RequireCost(0.95);
      const std::vector<float> found = rig.Get(out);
      REQUIRE(test::RelativeError(found, expected) < 1e-6);
      REQUIRE(rig.Get(out_bf16) == test::ToBf16(found));
    }
  }
}

struct Case {
  int32_t lora = 32, rope = 16, heads = 4;
  std::vector<std::pair<int32_t, int32_t>> sequences;  // tokens after the rows, and rows
  int32_t block_tokens = 64;
};

// Queries and pages of latents, in half.
class Scene {
 public:
  explicit Scene(const Case& c) : c_(c), width_(c.lora + c.rope), of_(c.sequences, c.block_tokens) {
    for (const float x : RandomFloats(n(int64_t{of_.pages} * c.block_tokens * width_), 1)) {
      latents_.push_back(FloatToHalf(x));
    }
    q_ = RandomFloats(n(int64_t{of_.rows} * c.heads * width_), 2, 0.3f);
    for (float& x : q_) x = HalfToFloat(FloatToHalf(x));
  }

  std::vector<float> Expected() const {
    std::vector<float> out;
    for (size_t i = 0; i < of_.sequences.size(); ++i) {
      for (int32_t r = 0; r < of_.sequences[i].second; ++r) {
        for (int32_t h = 0; h < c_.heads; ++h) Row(i, of_.first_rows[i] + r, h, out);
      }
    }
    return out;
  }

  std::vector<float> OnGpu(bool spread) {
    test::Rig rig;
    const test::AttentionLaunch launch(
        rig, of_, c_.heads, c_.lora,
        of_.Items(gpu::AttentionItemRows(c_.heads, 1), spread, [](int32_t) { return true; }));
    const auto q = rig.Put(q_);
    const auto pages = rig.Put(latents_);
    const auto out = rig.Room<float>(n(int64_t{of_.rows} * c_.heads * c_.lora));
    gpu::AttentionParams params = launch.params();
    params.q = q.get();
    params.k_pages = pages.get();
    params.out = out.get();
    params.scale = kScale;
    params.kv_heads = 1;
    rig.Run(gpu::LatentAttention(params, c_.rope, rig.stream()));
    test::RequireCost(0.95, test::Conflictless::kLoads);
    rig.Run(gpu::MergeAttention(params, rig.stream()));
    return rig.Get(out);
  }

 private:
  static constexpr float kScale = 0.2f;

  float Latent(size_t sequence, int32_t token, int32_t d) const {
    const int32_t page = of_.tables[n(of_.tables_at[sequence] + token / c_.block_tokens)];
    return HalfToFloat(
        latents_[n((int64_t{page} * c_.block_tokens + token % c_.block_tokens) * width_ + d)]);
  }
  void Row(size_t sequence, int32_t row, int32_t head, std::vector<float>& out) const {
    const float* q = &q_[n((int64_t{row} * c_.heads + head) * width_)];
    const int32_t tokens = of_.positions[n(row)] + 1;
    std::vector<double> weights;
    double total = 0;
    for (int32_t t = 0; t < tokens; ++t) {
      double score = 0;
      for (int32_t d = 0; d < width_; ++d) {
        score += static_cast<double>(q[d]) * static_cast<double>(Latent(sequence, t, d));
      }
      weights.push_back(std::exp(score * static_cast<double>(kScale)));
      total += weights.back();
    }
    for (int32_t d = 0; d < c_.lora; ++d) {
      double sum = 0;
      for (int32_t t = 0; t < tokens; ++t) {
        sum += weights[n(t)] * static_cast<double>(Latent(sequence, t, d));
      }
      out.push_back(static_cast<float>(sum / total));
    }
  }

  const Case c_;
  const int32_t width_;
  const test::PagedRows of_;
  std::vector<uint16_t> latents_;
  std::vector<float> q_;
};

TEST_CASE("Attention over latents is a softmax over them, spread or walked", "[gpu][latent]") {
  const Case cases[] = {{.sequences = {{70, 1}, {9, 9}, {1, 1}, {64, 3}}},
                        {.heads = 20, .sequences = {{530, 1}, {17, 2}}, .block_tokens = 16},
                        {.sequences = {{1030, 2}}},
                        {.lora = 512, .rope = 64, .heads = 16, .sequences = {{70, 1}}}};
  for (const Case& c : cases) {
    INFO("latents of " << c.lora << ", " << c.heads << " heads");
    Scene scene(c);
    const std::vector<float> walked = scene.OnGpu(false);
    REQUIRE(test::RelativeError(walked, scene.Expected()) < 1e-3);
    REQUIRE(test::SameBits(scene.OnGpu(true), walked));
  }
}

TEST_CASE("Latents and rotated keys go to their slots, rotated queries beside theirs",
          "[gpu][latent]") {
  constexpr int32_t kRows = 3, kHeads = 2, kNope = 8, kLora = 32, kRope = 16, kBlock = 16;
  constexpr int32_t kWidth = kLora + kRope, kHead = kNope + kRope, kStride = kLora + kRope;
  const std::vector<float> q = RandomFloats(kRows * kHeads * kHead, 1);
  const std::vector<uint16_t> latent = test::ToBf16(RandomFloats(kRows * kLora, 2));
  const std::vector<float> values = test::FromBf16(latent);
  const std::vector<float> kv = RandomFloats(kRows * kStride, 3);
  std::vector<float> cos_sin;
  for (int32_t i = 0; i < kRows * kRope; ++i) {
    const auto angle = static_cast<float>(i / kRope * 7 + i % (kRope / 2));
    cos_sin.push_back(i % kRope < kRope / 2 ? std::cos(angle) : std::sin(angle));
  }
  const std::vector<int32_t> slots = {17, 0, 31};
  for (const bool neighbours : {false, true}) {
    test::Rig rig;
    const auto gpu_q = rig.Put(q), gpu_kv = rig.Put(kv), angles = rig.Put(cos_sin);
    const auto gpu_latent = rig.Put(latent);
    const auto gpu_slots = rig.Put(slots);
    const auto latent_q = rig.Put(std::vector<float>(kRows * kHeads * kWidth, 5.0f));
    const auto pages = rig.Put(std::vector<uint16_t>(2 * kBlock * kWidth, 0));
    rig.Run(gpu::LatentCache({.q = gpu_q.get(),
                              .latent = gpu_latent.get(),
                              .k_rope = gpu_kv.get() + kLora,
                              .cos_sin = angles.get(),
                              .slots = gpu_slots.get(),
                              .latent_q = latent_q.get(),
                              .pages = pages.get(),
                              .k_rope_stride = kStride,
                              .rows = kRows,
                              .heads = kHeads,
                              .nope_dim = kNope,
                              .kv_lora = kLora,
                              .rope_dim = kRope,
                              .neighbours = neighbours ? 1 : 0,
                              .block_tokens = kBlock},
                             rig.stream()));
    const auto rotated = [&](const float* x, int32_t row, int32_t i) {
      const int32_t pair = neighbours ? i / 2 : i % (kRope / 2);
      const float a = x[neighbours ? 2 * pair : pair];
      const float b = x[neighbours ? 2 * pair + 1 : pair + kRope / 2];
      const float c = cos_sin[n(row * kRope + pair)],
                  s = cos_sin[n(row * kRope + pair + kRope / 2)];
      const bool second = neighbours ? i % 2 == 1 : i >= kRope / 2;
      return second ? a * s + b * c : a * c - b * s;
    };
    const std::vector<float> found_q = rig.Get(latent_q);
    const std::vector<uint16_t> found = rig.Get(pages);
    for (int32_t row = 0; row < kRows; ++row) {
      for (int32_t h = 0; h < kHeads; ++h) {
        const int32_t at = row * kHeads + h;
        REQUIRE(found_q[n(at * kWidth)] == 5.0f);
        for (int32_t i = 0; i < kRope; ++i) {
          REQUIRE(found_q[n(at * kWidth + kLora + i)] ==
                  Approx(rotated(&q[n(at * kHead + kNope)], row, i)).margin(1e-6));
        }
      }
      const uint16_t* page = &found[n(slots[n(row)] * kWidth)];
      for (int32_t i = 0; i < kLora; ++i) {
        REQUIRE(page[i] == FloatToHalf(values[n(row * kLora + i)]));
      }
      for (int32_t i = 0; i < kRope; ++i) {
        REQUIRE(HalfToFloat(page[kLora + i]) ==
                Approx(rotated(&kv[n(row * kStride + kLora)], row, i)).epsilon(1e-3).margin(1e-3));
      }
    }
  }
}

}  // namespace
}  // namespace weft
