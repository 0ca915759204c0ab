// The bits of every op, committed: tests of one machine compare its levels with one another, this
// one compares them with those of every other machine. Inputs are exact fractions of integers, so
// that nothing but the kernels can differ.
//
// After a change that is meant to change bits: test_ops "[.write-hashes]", and say so in the
// commit.
#include <algorithm>
#include <random>
#include <string>

#include "tests/support/bits_hash.h"
#include "tests/support/catch.h"
#include "tests/unit/ops/op_fixture.h"

namespace weft {
namespace {

using test::BitsHash;
using test::BitsHashes;
using test::CpuContext;

constexpr const char* kFile = "tests/data/golden/op_bits.txt";

class Inputs {
 public:
  explicit Inputs(uint32_t seed) : random_(seed) {}
  uint32_t Bits() { return static_cast<uint32_t>(random_()); }
  // Multiples of 2^-12 in [-8 scale, 8 scale) for powers of two.
  float Float(float scale) {
    return static_cast<float>(static_cast<int32_t>(Bits() >> 16) - 32768) * 0x1p-12f * scale;
  }
  std::vector<float> Floats(int64_t count, float scale = 0.25f) {
    std::vector<float> out(static_cast<size_t>(count));
    for (float& value : out) value = Float(scale);
    return out;
  }
  // A repackable weight in its file's format: random codes, scales of 1/64 to 2/64 of both signs.
  std::vector<uint8_t> Weight(DType type, int64_t elements) {
    const auto block = static_cast<size_t>(BlockBytes(type));
    std::vector<uint8_t> out(static_cast<size_t>(elements / BlockSize(type)) * block);
    const test::ScaleFields fields = test::ScaleFieldsOf(type);
    for (size_t at = 0; at < out.size(); at += block) {
      uint8_t* to = &out[at];
      for (size_t i = 0; i < block; ++i) to[i] = static_cast<uint8_t>(Bits());
      const float value = Float(0.125f) * 0x1p-4f;
      if (type == DType::kF32) {
        std::memcpy(to, &value, 4);
      } else if (type == DType::kF16) {
        test::PutHalf(to, value);
      } else if (type == DType::kBF16) {
        std::memcpy(to, reinterpret_cast<const uint8_t*>(&value) + 2, 2);
      } else if (type == DType::kF8E4M3) {
        *to &= 0xbf;  // below 2, and so a number
      } else if (type == DType::kMXFP4) {
        *to = static_cast<uint8_t>(118 + *to % 4);
      } else {
        const float scale =
            static_cast<float>(64 + to[0] % 64) * (to[1] % 2 == 0 ? 0x1p-12f : -0x1p-12f);
        test::PutHalf(to + fields.scale, scale);
        if (fields.offset_factor != 0)
          test::PutHalf(to + fields.offset, scale * fields.offset_factor);
      }
    }
    return out;
  }

 private:
  std::mt19937 random_;
};

void AddLinears(const cpu::Kernels& kernels, BitsHashes& out) {
  for (const DType type : test::SupportedTypes()) {
    constexpr int64_t kOutputs = 37;  // two whole groups and a part
    constexpr int64_t kCols = 512;
    constexpr int64_t kRows = 15;  // every pass that a level splits rows into
    Inputs inputs(static_cast<uint32_t>(type) + 1);
    const std::vector<uint8_t> bytes = inputs.Weight(type, kOutputs * kCols);
    Weight raw;
    raw.type = type;
    raw.rows = kOutputs;
    raw.cols = kCols;
    raw.raw = bytes.data();
    CpuContext cpu(kernels.isa, 1);
    PageArena arena;
    const Weight weight = Repack(raw, "test.weight", cpu.team, arena).value();
    const test::QuantizedActivations x(inputs.Floats(kRows * kCols), kCols, kernels);
    std::vector<float> result(kRows * kOutputs);
    const LinearArgs::Output output{&weight, result.data()};
    CpuOps().linear({x.view, kRows, {&output, 1}}, cpu.context);
    out[std::string("linear.") + std::string(Name(type))] = BitsHash(result);
  }
}

void AddRows(const cpu::Kernels& kernels, BitsHashes& out) {
  for (const int64_t n : {16, 37, 576}) {
    Inputs inputs(static_cast<uint32_t>(n));
    const std::vector<float> x = inputs.Floats(n, 2.0f);
    const std::vector<float> weight = inputs.Floats(n);
    const std::vector<float> bias = inputs.Floats(n);
    const std::string size = "." + std::to_string(n);
    std::vector<float> y(x.size());
    const auto keep = [&](const std::string& name) { out[name + size] = BitsHash(y); };
    kernels.rms_norm(x.data(), weight.data(), n, 1e-5f, y.data());
    keep("rms_norm");
    kernels.layer_norm(x.data(), weight.data(), bias.data(), n, 1e-5f, y.data());
    keep("layer_norm");
    const auto in_place = [&](const std::string& name, auto&& op) {
      y = x;
      op(y.data());
      keep(name);
    };
    in_place("add", [&](float* at) { kernels.add(at, weight.data(), n); });
    in_place("add_scaled", [&](float* at) { kernels.add_scaled(at, weight.data(), 0.3f, n); });
    in_place("scale_and_cap", [&](float* at) { kernels.scale_and_cap(at, n, 0.7f, 5.0f); });
    in_place("softmax", [&](float* at) { kernels.softmax(at, n); });
    in_place("sigmoid", [&](float* at) { kernels.sigmoid(at, n); });
    for (const auto& [name, kind] : {std::pair{"silu", Activation::kSilu},
                                     {"gelu_tanh", Activation::kGeluTanh},
                                     {"gelu", Activation::kGelu}}) {
      kernels.activate(kind, x.data(), weight.data(), n, y.data());
      keep(std::string(name) + ".gated");
      kernels.activate(kind, nullptr, x.data(), n, y.data());
      keep(name);
    }
    if (n % cpu::kQBlock != 0) continue;
    const test::QuantizedActivations q(x, n, kernels);
    out["quantize.q" + size] = BitsHash(q.q);
    out["quantize.scale" + size] = BitsHash(q.scale);
    out["quantize.scaled_sum" + size] = BitsHash(q.scaled_sum);
    out["quantize.sums" + size] = BitsHash(q.minus128sum);
  }
}

// Rope, the cache and attention of one sequence of 150 tokens in steps of 47.
void AddAttention(const cpu::Kernels& kernels, BitsHashes& out) {
  struct Shape {
    const char* name;
    int heads, kv_heads, dim, window;
    float softcap;
    bool norm, neighbours;
  };
  for (const Shape& s :
       {Shape{"plain", 9, 3, 64, 0, 0, false, false}, Shape{"window", 4, 4, 96, 33, 0, true, true},
        Shape{"softcap", 8, 1, 48, 0, 20.0f, false, false}}) {
    constexpr int kTokens = 150;
    constexpr int kPage = 64;
    Inputs inputs(static_cast<uint32_t>(s.dim));
    const KvShape shape{DType::kF16, kPage, s.kv_heads, s.dim, s.dim};
    const std::vector<int32_t> table = {2, 0, 1};
    std::vector<uint8_t> k(3 * static_cast<size_t>(shape.k_page().bytes()));
    std::vector<uint8_t> v(3 * static_cast<size_t>(shape.v_page().bytes()));
    const int64_t width = static_cast<int64_t>(s.heads) * s.dim;
    const int64_t kv_width = static_cast<int64_t>(s.kv_heads) * s.dim;
    std::vector<float> q = inputs.Floats(kTokens * width, 0.5f);
    const std::vector<float> keys = inputs.Floats(kTokens * kv_width);
    const std::vector<float> values = inputs.Floats(kTokens * kv_width);
    const std::vector<float> cos_sin = inputs.Floats(static_cast<int64_t>(kTokens) * s.dim, 0.125f);
    const std::vector<float> norm = inputs.Floats(s.dim);
    std::vector<int32_t> slots;
    for (int t = 0; t < kTokens; ++t) {
      slots.push_back(table[static_cast<size_t>(t / kPage)] * kPage + t % kPage);
    }
    std::vector<float> result(q.size());
    CpuContext cpu(kernels.isa, 1);
    for (int begin = 0; begin < kTokens; begin += 47) {
      const int rows = std::min(47, kTokens - begin);
      const KvLayer cache{k.data(), v.data()};
      CpuOps().rope_and_cache({.q = q.data() + begin * width,
                               .k = keys.data() + begin * kv_width,
                               .v = values.data() + begin * kv_width,
                               .q_norm = s.norm ? norm.data() : nullptr,
                               .k_norm = s.norm ? norm.data() : nullptr,
                               .norm_eps = 1e-5f,
                               .cos_sin = cos_sin.data() + begin * s.dim,
                               .rows = rows,
                               .heads = s.heads,
                               .rope_dim = s.dim,
                               .neighbours = s.neighbours,
                               .slots = {slots.data() + begin, static_cast<size_t>(rows)},
                               .cache = cache,
                               .shape = shape},
                              cpu.context);
      const AttentionSequence sequence{0, rows, begin, table.data()};
      Activations to;
      to.data = result.data() + begin * width;
      to.width = width;
      CpuOps().paged_attention({.q = q.data() + begin * width,
                                .rows = rows,
                                .heads = s.heads,
                                .scale = 0.125f,
                                .softcap = s.softcap,
                                .window = s.window,
                                .sequences = {&sequence, 1},
                                .cache = cache,
                                .shape = shape,
                                .out = to},
                               cpu.context);
    }
    const std::string name = std::string(".") + s.name;
    out["rope" + name] = BitsHash(q);
    out["cache.k" + name] = BitsHash(k);
    out["cache.v" + name] = BitsHash(v);
    out["attention" + name] = BitsHash(result);
  }
}

BitsHashes HashAll(Isa isa) {
  const cpu::Kernels& kernels = cpu::GetKernels(isa);
  BitsHashes out;
  AddLinears(kernels, out);
  AddRows(kernels, out);
  AddAttention(kernels, out);
  return out;
}

TEST_CASE("Every instruction set of every machine gives the committed bits", "[ops][levels]") {
  const BitsHashes expected = test::ReadBitsHashes(kFile);
  for (const Isa isa : AvailableIsas()) {
    INFO(Name(isa));
    CHECK(HashAll(isa) == expected);
  }
}

TEST_CASE("Write the bits of the portable level", "[.write-hashes]") {
  test::WriteBitsHashes(kFile, HashAll(Isa::kScalar));
}

}  // namespace
}  // namespace weft
