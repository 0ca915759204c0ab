#include "libs/ops/activate_gpu.h"
#include "libs/ops/embed_gpu.h"
#include "libs/ops/rope_cache_gpu.h"
#include "tests/unit/ops/gpu/rig.h"

namespace weft {
namespace {

using test::RandomFloats;

TEST_CASE("The GPU's activations are the oracle's", "[gpu][activate]") {
  test::RefContext ref;
  test::Rig rig;
  constexpr int64_t kRows = 3, kWidth = 340;
  const std::vector<float> gate = RandomFloats(kRows * kWidth, 1, 4.0f);
  const std::vector<float> up = RandomFloats(kRows * kWidth, 2, 4.0f);
  const auto gpu_gate = rig.Put(gate), gpu_up = rig.Put(up);
  for (const Activation kind : {Activation::kSilu, Activation::kGeluTanh, Activation::kGelu}) {
    for (const bool gated : {true, false}) {
      std::vector<float> expected(gate.size());
      ActivateArgs args{.kind = kind,
                        .gate = gated ? gate.data() : nullptr,
                        .up = up.data(),
                        .rows = kRows,
                        .out = {}};
      args.out.data = expected.data();
      args.out.width = kWidth;
      RefOps().activate(args, ref.context);
      const auto out = rig.Room<float>(gate.size());
      const auto out_bf16 = rig.Room<uint16_t>(gate.size());
      rig.Run(gpu::Activate({.gate = gated ? gpu_gate.get() : nullptr,
                             .up = gpu_up.get(),
                             .out = out.get(),
                             .out_bf16 = out_bf16.get(),
                             .elements = kRows * kWidth,
                             .kind = kind},
                            rig.stream()));
      test::RequireCost(0.95);
      const std::vector<float> found = rig.Get(out);
      REQUIRE(test::RelativeError(found, expected) < 2e-6);
      REQUIRE(rig.Get(out_bf16) == test::ToBf16(found));
    }
  }
}

TEST_CASE("The GPU's scaled and capped logits are the oracle's", "[gpu][activate]") {
  test::RefContext ref;
  test::Rig rig;
  for (const float cap : {0.0f, 30.0f}) {
    std::vector<float> expected = RandomFloats(999, 1, 40.0f);
    const auto x = rig.Put(expected);
    RefOps().scale_and_cap(
        {.x = expected.data(), .rows = 1, .width = 999, .scale = 0.7f, .softcap = cap},
        ref.context);
    rig.Run(gpu::ScaleAndCap({.x = x.get(), .elements = 999, .scale = 0.7f, .softcap = cap},
                             rig.stream()));
    test::RequireCost(0.95);
    REQUIRE(test::RelativeError(rig.Get(x), expected) < 1e-6);
  }
}

TEST_CASE("The GPU looks rows up in every table type that it takes", "[gpu][embed]") {
  test::RefContext ref;
  test::Rig rig;
  constexpr int64_t kTokens = 7, kWidth = 512;
  const std::vector<int32_t> tokens = {6, 0, 3}, positions = {1, 2, 6};
  const auto gpu_tokens = rig.Put(tokens), gpu_positions = rig.Put(positions);
  int types = 0;
  for (const DType type : test::SupportedTypes()) {
    if (!gpu::CanEmbed(type)) continue;
    ++types;
    INFO(Name(type));
    const test::RawWeight table(type, kTokens, kWidth, 1), places(DType::kF32, kTokens, kWidth, 2);
    std::vector<float> expected(tokens.size() * kWidth);
    RefOps().embed({.table = &table.weight,
                    .tokens = tokens,
                    .scale = 3.0f,
                    .position_table = &places.weight,
                    .positions = positions,
                    .out = expected.data()},
                   ref.context);
    const auto bytes = rig.Put(table.bytes), place_bytes = rig.Put(places.bytes);
    const auto out = rig.Room<float>(expected.size());
    rig.Run(gpu::Embed({.table = {bytes.get(), static_cast<int64_t>(*BytesFor(type, kWidth)), type},
                        .position_table = {place_bytes.get(), 4 * kWidth, DType::kF32},
                        .tokens = gpu_tokens.get(),
                        .positions = gpu_positions.get(),
                        .out = out.get(),
                        .scale = 3.0f,
                        .rows = 3,
                        .width = kWidth},
                       rig.stream()));
    REQUIRE(test::RelativeError(rig.Get(out), expected) < 1e-6);
  }
  REQUIRE(types == 8);
}

struct RopeCase {
  int32_t head_dim, rope_first, rope_dim;
  bool neighbours, norm;
};

void CheckRope(const RopeCase& c) {
  INFO("head_dim " << c.head_dim << " rope " << c.rope_first << "+" << c.rope_dim << " neighbours "
                   << c.neighbours << " norm " << c.norm);
  constexpr int32_t kRows = 3, kHeads = 6, kKvHeads = 2, kBlockTokens = 16, kPages = 3;
  const int32_t dim = c.head_dim;
  const auto n = [](int64_t count) { return static_cast<size_t>(count); };
  std::vector<float> q = RandomFloats(n(kRows * kHeads * dim), 1);
  const std::vector<float> k = RandomFloats(n(kRows * kKvHeads * dim), 2);
  const std::vector<float> v = RandomFloats(n(kRows * kKvHeads * dim), 3);
  const std::vector<float> q_norm = RandomFloats(n(dim), 4), k_norm = RandomFloats(n(dim), 5);
  std::vector<float> cos_sin(n(kRows * c.rope_dim));
  for (int32_t i = 0; i < kRows * c.rope_dim / 2; ++i) {
    const int32_t row = i / (c.rope_dim / 2), pair = i % (c.rope_dim / 2);
    cos_sin[n(row * c.rope_dim + pair)] = std::cos(0.3f * static_cast<float>(i));
    cos_sin[n(row * c.rope_dim + c.rope_dim / 2 + pair)] = std::sin(0.3f * static_cast<float>(i));
  }
  const std::vector<int32_t> slots = {17, 40, 3};
  const auto page_elements = n(kPages * kKvHeads * kBlockTokens * dim);

  test::Rig rig;
  const auto gpu_q = rig.Put(q), gpu_k = rig.Put(k), gpu_v = rig.Put(v), gpu_cos = rig.Put(cos_sin);
  const auto gpu_qn = rig.Put(q_norm), gpu_kn = rig.Put(k_norm);
  const auto gpu_slots = rig.Put(slots);
  const auto k_pages = rig.Put(std::vector<uint16_t>(page_elements));
  const auto v_pages = rig.Put(std::vector<uint16_t>(page_elements));
  rig.Run(gpu::RopeCache({.q = gpu_q.get(),
                          .k = gpu_k.get(),
                          .v = gpu_v.get(),
                          .q_norm = c.norm ? gpu_qn.get() : nullptr,
                          .k_norm = c.norm ? gpu_kn.get() : nullptr,
                          .cos_sin = gpu_cos.get(),
                          .slots = gpu_slots.get(),
                          .k_pages = k_pages.get(),
                          .v_pages = v_pages.get(),
                          .norm_eps = 1e-6f,
                          .rows = kRows,
                          .heads = kHeads,
                          .kv_heads = kKvHeads,
                          .head_dim = dim,
                          .rope_first = c.rope_first,
                          .rope_dim = c.rope_dim,
                          .neighbours = c.neighbours ? 1 : 0,
                          .block_tokens = kBlockTokens},
                         rig.stream()));
  // Halves of 40, 48 or 10 elements apart lie in banks that are partly the same.
  if (c.rope_dim % 64 == 0) test::RequireCost(0.9);

  std::vector<float> ref_k(page_elements), ref_v(page_elements);
  test::RefContext ref;
  RefOps().rope_and_cache({.q = q.data(),
                           .k = k.data(),
                           .v = v.data(),
                           .q_norm = c.norm ? q_norm.data() : nullptr,
                           .k_norm = c.norm ? k_norm.data() : nullptr,
                           .norm_eps = 1e-6f,
                           .cos_sin = cos_sin.data(),
                           .rows = kRows,
                           .heads = kHeads,
                           .rope_first = c.rope_first,
                           .rope_dim = c.rope_dim,
                           .neighbours = c.neighbours,
                           .slots = slots,
                           .cache = {ref_k.data(), ref_v.data()},
                           .shape = {DType::kF32, kBlockTokens, kKvHeads, dim, dim}},
                          ref.context);
  REQUIRE(test::RelativeError(rig.Get(gpu_q), q) < 1e-6);
  const std::vector<uint16_t> found_k = rig.Get(k_pages), found_v = rig.Get(v_pages);
  std::vector<float> own_k, own_v, wanted_k, wanted_v;
  for (int32_t page = 0; page < kPages * kKvHeads; ++page) {
    for (int32_t token = 0; token < kBlockTokens; ++token) {
      for (int32_t d = 0; d < dim; ++d) {
        own_k.push_back(HalfToFloat(found_k[n((page * kBlockTokens + token) * dim + d)]));
        own_v.push_back(HalfToFloat(found_v[n((page * kBlockTokens + token) * dim + d)]));
        wanted_k.push_back(ref_k[n((page * dim + d) * kBlockTokens + token)]);
        wanted_v.push_back(ref_v[n((page * kBlockTokens + token) * dim + d)]);
      }
    }
  }
  REQUIRE(test::RelativeError(own_k, wanted_k) < 5e-4);  // half's rounding: 2^-11
  REQUIRE(test::RelativeError(own_v, wanted_v) < 5e-4);
}

TEST_CASE("The GPU rotates queries and keys and writes pages as the oracle does", "[gpu][rope]") {
  for (const int32_t dim : {32, 64, 80, 96, 128, 256}) {
    for (const bool neighbours : {false, true}) CheckRope({dim, 0, dim, neighbours, false});
  }
  CheckRope({80, 0, 20, false, false});
  CheckRope({128, 64, 64, false, true});
  CheckRope({64, 0, 64, true, true});
}

}  // namespace
}  // namespace weft
