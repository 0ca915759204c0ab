#include <algorithm>

#include "libs/ops/ref_cache.h"
#include "tests/support/catch.h"
#include "tests/unit/ops/op_fixture.h"

namespace weft {
namespace {

using test::CpuContext;
using test::RandomFloats;
using test::SameBits;

struct Shape {
  int rows, heads, kv_heads, head_dim, v_dim, rope_first, rope_dim;
  bool norm, shared, neighbours;
};

// What rope_and_cache leaves behind: the queries and both caches as floats.
struct Result {
  std::vector<float> q, k, v;
};

// Every element of both caches, as the oracle reads it.
std::vector<float> Contents(const RefCache& cache, const KvPage& page, int64_t pages) {
  std::vector<float> out;
  for (int64_t p = 0; p < pages; ++p) {
    for (int64_t head = 0; head < page.heads; ++head) {
      for (int64_t token = 0; token < page.tokens; ++token) {
        for (int64_t i = 0; i < page.dim; ++i) out.push_back(cache.Load(p, head, token, i));
      }
    }
  }
  return out;
}

Result Run(const OpTable& ops, OpContext& context, const Shape& s, DType type) {
  const auto size = [](int64_t a, int64_t b) { return static_cast<size_t>(a * b); };
  // As MLA lays them out: a head's leading key elements, then its value.
  const int own = s.shared ? s.rope_first : s.head_dim;
  const int apart = s.shared ? own + s.v_dim : own;
  Result out;
  out.q = RandomFloats(size(s.rows, s.heads * s.head_dim), 31);
  const std::vector<float> kv = RandomFloats(size(s.rows, s.kv_heads * apart), 32);
  const std::vector<float> v = RandomFloats(size(s.rows, s.kv_heads * s.v_dim), 33);
  const std::vector<float> shared = RandomFloats(size(s.rows, s.rope_dim + 5), 34);
  const std::vector<float> norm = RandomFloats(static_cast<size_t>(s.head_dim), 35);
  const std::vector<float> cos_sin = RandomFloats(size(s.rows, s.rope_dim), 36);
  std::vector<int32_t> slots;
  for (int row = 0; row < s.rows; ++row) slots.push_back(row * 3);
  const KvShape shape{type, 16, s.kv_heads, s.head_dim, s.v_dim};
  const int64_t pages = (s.rows * 3 + 15) / 16;
  std::vector<uint8_t> k_pages(size(shape.k_page().bytes(), pages));
  std::vector<uint8_t> v_pages(size(shape.v_page().bytes(), pages));
  RopeAndCacheArgs args{.q = out.q.data(),
                        .k = kv.data(),
                        .v = v.data(),
                        .q_norm = s.norm ? norm.data() : nullptr,
                        .k_norm = s.norm ? norm.data() : nullptr,
                        .norm_eps = 1e-5f,
                        .cos_sin = cos_sin.data(),
                        .rows = s.rows,
                        .heads = s.heads,
                        .rope_first = s.rope_first,
                        .rope_dim = s.rope_dim,
                        .neighbours = s.neighbours,
                        .slots = slots,
                        .cache = {k_pages.data(), v_pages.data()},
                        .shape = shape};
  if (s.shared) {
    args.v = kv.data() + own;
    args.k_head_stride = args.v_head_stride = apart;
    args.k_shared = shared.data();
    args.k_shared_stride = s.rope_dim + 5;
  }
  ops.rope_and_cache(args, context);
  out.k = Contents(RefCache::Keys(args.cache, shape), shape.k_page(), pages);
  out.v = Contents(RefCache::Values(args.cache, shape), shape.v_page(), pages);
  return out;
}

TEST_CASE("RopeAndCache normalises, rotates and stores every layout of heads", "[ops]") {
  const DType type = GENERATE(DType::kF16, DType::kBF16, DType::kQ8_0);
  for (const Shape& s : {Shape{3, 4, 2, 32, 32, 0, 32, false, false, true},
                         Shape{5, 3, 1, 48, 48, 0, 16, true, false, false},  // partly rotated
                         Shape{2, 2, 2, 64, 64, 0, 0, true, false, false},   // nothing rotates
                         Shape{4, 3, 3, 48, 32, 32, 16, false, true, true},  // MLA
                         Shape{7, 2, 2, 80, 16, 64, 16, false, true, false}}) {
    CpuContext scalar(Isa::kScalar);
    const Result expected = Run(RefOps(), scalar.context, s, type);
    const Result bits = Run(CpuOps(), scalar.context, s, type);
    for (const auto& [a, b] :
         {std::pair{&expected.q, &bits.q}, {&expected.k, &bits.k}, {&expected.v, &bits.v}}) {
      REQUIRE(a->size() == b->size());
      for (size_t i = 0; i < a->size(); ++i) {
        REQUIRE((*b)[i] == Approx((*a)[i]).epsilon(1e-3).margin(2e-3));
      }
    }
    for (const Isa isa : AvailableIsas()) {
      CpuContext cpu(isa, 2);
      const Result result = Run(CpuOps(), cpu.context, s, type);
      REQUIRE(SameBits(result.q, bits.q));
      REQUIRE(SameBits(result.k, bits.k));
      REQUIRE(SameBits(result.v, bits.v));
    }
  }
}

}  // namespace
}  // namespace weft
