#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <numeric>

#include "tests/support/catch.h"
#include "tests/unit/ops/op_fixture.h"

namespace weft {
namespace {

using test::CpuContext;
using test::RandomFloats;
using test::SameBits;

// One sequence of `tokens`, its pages in a shuffled order.
struct Case {
  // v_dim 0: head_dim.
  Case(int tokens, int heads, int kv_heads, int head_dim, int block_tokens, int v_dim = 0,
       DType type = DType::kF16)
      : tokens(tokens), heads(heads) {
    if (v_dim == 0) v_dim = head_dim;
    shape = {type, block_tokens, kv_heads, head_dim, v_dim};
    const int blocks = (tokens + block_tokens - 1) / block_tokens;
    table.resize(static_cast<size_t>(blocks));
    std::iota(table.begin(), table.end(), 0);
    std::shuffle(table.begin(), table.end(), std::mt19937(1));
    // Unwritten cache is not a number, its scales are not: whatever touches it shows.
    k.assign(static_cast<size_t>(blocks * shape.k_page().bytes()), 0xff);
    v.assign(static_cast<size_t>(blocks * shape.v_page().bytes()), 0xff);
    const auto q_width = static_cast<size_t>(heads * head_dim);
    const auto kv_width = static_cast<size_t>(kv_heads * head_dim);
    const auto n = static_cast<size_t>(tokens);
    queries = RandomFloats(n * q_width, 21);
    keys = RandomFloats(n * kv_width, 22);
    values = RandomFloats(n * static_cast<size_t>(kv_heads * v_dim), 23);
    const std::vector<float> angles = RandomFloats(n * static_cast<size_t>(head_dim / 2), 24, 3.0f);
    for (int t = 0; t < tokens; ++t) {
      const size_t first = static_cast<size_t>(t * (head_dim / 2));
      for (int i = 0; i < head_dim / 2; ++i) cos_sin.push_back(std::cos(angles[first + i]));
      for (int i = 0; i < head_dim / 2; ++i) cos_sin.push_back(std::sin(angles[first + i]));
      slots.push_back(table[t / block_tokens] * block_tokens + t % block_tokens);
    }
  }

  // Rope, cache and attention in chunks of `chunk` rows; the outputs of all tokens.
  std::vector<float> Run(const OpTable& ops, OpContext& context, int chunk) {
    const auto q_width = static_cast<int64_t>(heads) * shape.head_dim;
    const auto kv_width = static_cast<int64_t>(shape.kv_heads) * shape.head_dim;
    std::vector<float> q = queries;
    const auto v_width = static_cast<int64_t>(shape.kv_heads) * shape.v_dim;
    const auto out_width = static_cast<int64_t>(heads) * shape.v_dim;
    std::vector<float> out(static_cast<size_t>(tokens * out_width));
    for (int begin = 0; begin < tokens; begin += chunk) {
      const int rows = std::min(chunk, tokens - begin);
      const KvLayer cache{k.data(), v.data()};
      ops.rope_and_cache(
          {.q = q.data() + begin * q_width,
           .k = keys.data() + begin * kv_width,
           .v = values.data() + begin * v_width,
           .cos_sin = cos_sin.data() + begin * shape.head_dim,
           .rows = rows,
           .heads = heads,
           .rope_dim = shape.head_dim,
           .neighbours = neighbours,
           .slots = std::span(slots).subspan(static_cast<size_t>(begin), static_cast<size_t>(rows)),
           .cache = cache,
           .shape = shape},
          context);
      const AttentionSequence sequence{0, rows, begin, table.data()};
      Activations view;
      view.data = out.data() + begin * out_width;
      view.width = out_width;
      if (room != nullptr) view.quantized = *room;
      if (!keeps_floats) view.data = nullptr;
      ops.paged_attention({.q = q.data() + begin * q_width,
                           .rows = rows,
                           .heads = heads,
                           .scale = 0.125f,
                           .softcap = softcap,
                           .window = window,
                           .sequences = {&sequence, 1},
                           .cache = cache,
                           .shape = shape,
                           .out = view},
                          context);
    }
    return out;
  }

  int tokens, heads, window = 0;
  float softcap = 0;
  bool neighbours = true;
  const cpu::QuantizedRows* room = nullptr;  // for the quantised outputs of one chunk
  bool keeps_floats = true;
  KvShape shape;
  std::vector<int32_t> table, slots;
  std::vector<uint8_t> k, v;
  std::vector<float> queries, keys, values, cos_sin;
};

constexpr DType kKvTypes[] = {DType::kF16, DType::kBF16, DType::kQ8_0};

TEST_CASE("PagedAttention agrees with the oracle for awkward shapes", "[ops]") {
  const DType type = GENERATE(from_range(std::begin(kKvTypes), std::end(kKvTypes)));
  for (const auto& [tokens, heads, kv_heads, dim, block] : {std::tuple{1, 1, 1, 16, 16},
                                                            {63, 3, 1, 32, 64},
                                                            {64, 9, 3, 64, 64},
                                                            {65, 4, 4, 48, 16},
                                                            {150, 8, 2, 64, 32},
                                                            {200, 5, 1, 128, 48}}) {
    Case expected_case(tokens, heads, kv_heads, dim, block, 0, type);
    Case actual_case(tokens, heads, kv_heads, dim, block, 0, type);
    expected_case.neighbours = actual_case.neighbours = tokens % 2 == 0;
    CpuContext cpu(AvailableIsas().back(), 2);
    const std::vector<float> expected = expected_case.Run(RefOps(), cpu.context, tokens);
    const std::vector<float> actual = actual_case.Run(CpuOps(), cpu.context, tokens);
    for (size_t i = 0; i < expected.size(); ++i) {
      REQUIRE(actual[i] == Approx(expected[i]).margin(2e-5));
    }
  }
}

TEST_CASE("PagedAttention gives the same bits whatever chunk, page, thread and level", "[ops]") {
  const DType type = GENERATE(from_range(std::begin(kKvTypes), std::end(kKvTypes)));
  const auto make = [&](int block) { return Case(140, 6, 2, 48, block, 80, type); };
  CpuContext scalar(Isa::kScalar);
  const std::vector<float> expected = make(64).Run(CpuOps(), scalar.context, 140);
  for (const Isa isa : AvailableIsas()) {
    for (const int chunk : {1, 7, 64, 65, 140}) {
      for (const int block : {16, 64, 80, 128}) {
        CpuContext cpu(isa, 1 + chunk % 3);
        REQUIRE(SameBits(make(block).Run(CpuOps(), cpu.context, chunk), expected));
      }
    }
  }
}

TEST_CASE("PagedAttention keeps to its window, its soft cap and the width of values", "[ops]") {
  for (const auto& [tokens, window, softcap, v_dim, chunk] :
       {std::tuple{150, 1, 0.0f, 64, 150}, std::tuple{150, 17, 0.0f, 64, 33},
        std::tuple{150, 64, 2.0f, 64, 150}, std::tuple{200, 100, 0.0f, 32, 64},
        std::tuple{130, 128, 0.5f, 80, 7}, std::tuple{90, 1000, 30.0f, 16, 1}}) {
    const auto make = [&, tokens = tokens, window = window, softcap = softcap, v_dim = v_dim] {
      Case c(tokens, 6, 2, 48, 32, v_dim);
      c.window = window;
      c.softcap = softcap;
      return c;
    };
    CpuContext reference(Isa::kScalar);
    const std::vector<float> expected = make().Run(RefOps(), reference.context, tokens);
    const std::vector<float> bits = make().Run(CpuOps(), reference.context, tokens);
    for (size_t i = 0; i < expected.size(); ++i) {
      REQUIRE(bits[i] == Approx(expected[i]).margin(2e-5));
    }
    for (const Isa isa : AvailableIsas()) {
      CpuContext cpu(isa, 2);
      REQUIRE(SameBits(make().Run(CpuOps(), cpu.context, chunk), bits));
    }
  }
}

TEST_CASE("PagedAttention quantises what it computes", "[ops]") {
  // A group of heads makes whole blocks of 32, or does not.
  for (const auto& [tokens, heads, kv_heads, dim] :
       {std::tuple{1, 6, 2, 32}, {70, 6, 2, 64}, {70, 6, 6, 48}}) {
    const int64_t width = int64_t{heads} * dim;
    for (const Isa isa : AvailableIsas()) {
      CpuContext cpu(isa, 2);
      const std::vector<float> out =
          Case(tokens, heads, kv_heads, dim, 64).Run(CpuOps(), cpu.context, tokens);
      const test::QuantizedActivations expected(out, width, *cpu.context.kernels);
      test::QuantizedActivations actual(std::vector<float>(out.size()), width,
                                        *cpu.context.kernels);
      Case quantised(tokens, heads, kv_heads, dim, 64);
      quantised.room = &actual.view.quantized;
      REQUIRE(SameBits(quantised.Run(CpuOps(), cpu.context, tokens), out));
      REQUIRE(actual.SameQuantized(expected));
      if (!QuantisesInTasks(int64_t{heads} / kv_heads * dim)) continue;
      test::QuantizedActivations alone(std::vector<float>(out.size()), width, *cpu.context.kernels);
      quantised.room = &alone.view.quantized;
      quantised.keeps_floats = false;
      quantised.Run(CpuOps(), cpu.context, tokens);
      REQUIRE(alone.SameQuantized(expected));
    }
  }
}

TEST_CASE("PagedAttention never touches tokens before the window", "[ops]") {
  CpuContext cpu(AvailableIsas().back());
  Case plain(150, 3, 1, 64, 64);
  Case poisoned(150, 3, 1, 64, 64);
  plain.window = poisoned.window = 20;
  std::fill(poisoned.keys.begin(), poisoned.keys.begin() + 75 * 64, 1e9f);
  std::fill(poisoned.values.begin(), poisoned.values.begin() + 75 * 64, 1e9f);
  const std::vector<float> a = plain.Run(CpuOps(), cpu.context, 150);
  const std::vector<float> b = poisoned.Run(CpuOps(), cpu.context, 150);
  REQUIRE(SameBits({a.begin() + 94 * 192, a.end()}, {b.begin() + 94 * 192, b.end()}));
}

TEST_CASE("PagedAttention never lets a later token touch an earlier one", "[ops]") {
  const DType type = GENERATE(from_range(std::begin(kKvTypes), std::end(kKvTypes)));
  CpuContext cpu(AvailableIsas().back());
  Case plain(100, 3, 1, 64, 64, 0, type);
  Case poisoned(100, 3, 1, 64, 64, 0, type);
  // Infinite keys and values from token 70 on.
  std::fill(poisoned.keys.begin() + 70 * 64, poisoned.keys.end(), 1e9f);
  std::fill(poisoned.values.begin() + 70 * 64, poisoned.values.end(), 1e9f);
  const std::vector<float> a = plain.Run(CpuOps(), cpu.context, 100);
  const std::vector<float> b = poisoned.Run(CpuOps(), cpu.context, 100);
  REQUIRE(SameBits({a.begin(), a.begin() + 70 * 192}, {b.begin(), b.begin() + 70 * 192}));
}

TEST_CASE("A cache in Q8_0 holds finite values whatever comes in", "[ops]") {
  for (const Isa isa : AvailableIsas()) {
    CpuContext cpu(isa);
    Case wild(70, 3, 1, 48, 64, 0, DType::kQ8_0);
    wild.keys[5] = wild.values[64] = std::numeric_limits<float>::infinity();
    wild.keys[100] = wild.values[130] = -std::numeric_limits<float>::infinity();
    wild.keys[200] = wild.values[200] = std::numeric_limits<float>::quiet_NaN();
    std::fill(wild.values.begin() + 480, wild.values.begin() + 960, 1e-20f);
    wild.neighbours = false;
    std::fill(wild.cos_sin.begin(), wild.cos_sin.end(), 1.0f);
    for (const float out : wild.Run(CpuOps(), cpu.context, 33)) REQUIRE(std::isfinite(out));
  }
}

}  // namespace
}  // namespace weft
