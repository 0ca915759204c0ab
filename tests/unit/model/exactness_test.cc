// Batch, chunking, threads, page size and instruction set leave no trace in the bits.
#include <algorithm>
#include <random>

#include "libs/device/cpu_features.h"
#include "libs/gguf/gguf.h"
#include "tests/support/catch.h"
#include "tests/unit/model/sequence_runner.h"
#include "tests/unit/model/tiny_model.h"

namespace weft {
namespace {

using test::LogitsInChunks;
using test::SameBits;
using test::SequenceRunner;
using test::TinyModel;

constexpr DType kTypes[] = {DType::kF32,  DType::kF16,  DType::kBF16, DType::kQ4_0,
                            DType::kQ4_1, DType::kQ8_0, DType::kQ6_K};

std::unique_ptr<Model> LoadTiny(const TinyModel& tiny, const ModelOptions& options) {
  return Model::Load(GgufFile::FromBytes(tiny.Bytes()).value(), options).value();
}

std::vector<int32_t> RandomTokens(int32_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> out;
  for (int32_t i = 0; i < count; ++i) out.push_back(static_cast<int32_t>(random() % 300));
  return out;
}

TEST_CASE("Every weight type gives the same bits on all levels, threads, chunks and pages",
          "[model]") {
  TinyModel tiny;
  tiny.type = GENERATE(from_range(std::begin(kTypes), std::end(kTypes)));
  const std::vector<int32_t> tokens = RandomTokens(75, 1);
  const auto scalar = LoadTiny(tiny, {.isa = "scalar", .threads = 1});
  const std::vector<float> expected = LogitsInChunks(*scalar, tokens, 75, 64);
  for (const Isa isa : AvailableIsas()) {
    for (const int threads : {1, 2, 4}) {
      const auto model = LoadTiny(tiny, {.isa = std::string(Name(isa)), .threads = threads});
      for (const auto& [chunk, page] : {std::pair{1, 64}, {13, 16}, {64, 128}, {75, 48}}) {
        if (isa == Isa::kScalar && chunk == 1) continue;
        REQUIRE(
            SameBits(LogitsInChunks(*model, tokens, static_cast<size_t>(chunk), page), expected));
      }
    }
  }
}

TEST_CASE("Every type of KV cache gives the same bits on all levels, threads, chunks and pages",
          "[model]") {
  TinyModel tiny;
  tiny.type = DType::kQ8_0;
  tiny.head_dim = 48;  // one and a half groups of a Q8_0 cache
  const DType kv_type = GENERATE(DType::kF16, DType::kBF16, DType::kQ8_0);
  const std::vector<int32_t> tokens = RandomTokens(150, 5);
  const auto scalar = LoadTiny(tiny, {.isa = "scalar", .threads = 1, .kv_type = kv_type});
  const std::vector<float> whole = LogitsInChunks(*scalar, tokens, 150, 64);  // prefill
  for (const Isa isa : AvailableIsas()) {
    const auto model =
        LoadTiny(tiny, {.isa = std::string(Name(isa)), .threads = 2, .kv_type = kv_type});
    for (const auto& [chunk, page] : {std::pair{1, 64}, {13, 16}, {64, 128}, {150, 48}}) {
      REQUIRE(SameBits(LogitsInChunks(*model, tokens, static_cast<size_t>(chunk), page), whole));
    }
  }
  REQUIRE(scalar->numerics_class().find("/kv-" + std::string(Name(kv_type)) + "/") !=
          std::string::npos);
}

TEST_CASE("A sequence's bits do not depend on the others in its batches", "[model]") {
  TinyModel tiny;
  tiny.type = GENERATE(DType::kQ4_1, DType::kQ6_K, DType::kF16);
  const auto model = LoadTiny(tiny, {.threads = 2});
  constexpr int kSequences = 5;
  std::vector<std::vector<int32_t>> tokens;
  std::vector<std::vector<float>> alone;
  for (uint32_t s = 0; s < kSequences; ++s) {
    tokens.push_back(RandomTokens(70 + static_cast<int32_t>(s), s + 10));
    alone.push_back(LogitsInChunks(*model, tokens.back(), tokens.back().size(), 64));
  }
  // Random interleavings of prefill chunks and decode rows.
  for (uint32_t seed = 0; seed < 4; ++seed) {
    std::mt19937 random(seed);
    SequenceRunner runner(*model, kSequences, 128);
    std::vector<size_t> done(kSequences, 0);
    std::vector<std::vector<float>> together(kSequences);
    const auto unfinished = [&](size_t s) { return done[s] < tokens[s].size(); };
    while (true) {
      std::vector<std::pair<size_t, size_t>> rows;
      for (size_t s = 0; s < kSequences; ++s) {
        if (!unfinished(s) || random() % 3 == 0) continue;
        const size_t wish = random() % 2 == 0 ? 1 : 1 + random() % 40;
        const size_t count = std::min(wish, tokens[s].size() - done[s]);
        const auto begin = tokens[s].begin() + static_cast<int64_t>(done[s]);
        runner.Add(static_cast<int32_t>(s), {begin, begin + static_cast<int64_t>(count)});
        rows.emplace_back(s, count);
        done[s] += count;
      }
      if (!rows.empty()) {
        const std::vector<float> logits = runner.Step();
        auto at = logits.begin();
        for (const auto& [s, count] : rows) {
          together[s].insert(together[s].end(), at, at + static_cast<int64_t>(count) * 300);
          at += static_cast<int64_t>(count) * 300;
        }
      }
      if (std::none_of(done.begin(), done.end(), [&](const size_t& d) {
            return unfinished(static_cast<size_t>(&d - done.data()));
          })) {
        break;
      }
    }
    for (size_t s = 0; s < kSequences; ++s) REQUIRE(SameBits(together[s], alone[s]));
  }
}

TEST_CASE("Rows that want no logits change nothing for those that do", "[model]") {
  const auto model = LoadTiny({}, {.threads = 1});
  const std::vector<int32_t> tokens = RandomTokens(20, 3);
  const std::vector<float> all = LogitsInChunks(*model, tokens, 20, 64);
  SequenceRunner runner(*model, 1, 20);
  runner.Add(0, tokens, /*all_logits=*/false);
  REQUIRE(SameBits(runner.Step(), {all.end() - 300, all.end()}));
  SequenceRunner silent(*model, 1, 20);
  silent.Add(0, tokens, false);
  silent.batch().wants_logits.back() = 0;
  REQUIRE(silent.Step().empty());
}

TEST_CASE("Pages are shared: a sequence may continue from another's", "[model]") {
  const auto model = LoadTiny({}, {.threads = 2});
  const std::vector<int32_t> tokens = RandomTokens(90, 4);
  const std::vector<float> expected = LogitsInChunks(*model, tokens, 90, 64);
  REQUIRE(model->AllocateKv(4, 64).ok());
  const auto batch = [&](const std::vector<int32_t>& table, int32_t begin, int32_t end) {
    StepBatch out;
    for (int32_t p = begin; p < end; ++p) {
      out.tokens.push_back(tokens[static_cast<size_t>(p)]);
      out.positions.push_back(p);
      out.cache_slots.push_back(table[static_cast<size_t>(p / 64)] * 64 + p % 64);
      out.wants_logits.push_back(1);
    }
    out.sequences = {{0, end - begin, table.data(), static_cast<int32_t>(table.size()), end}};
    return out;
  };
  const std::vector<int32_t> first = {3, 1};
  const std::vector<int32_t> second = {3, 0};  // the same first page
  std::vector<float> logits(90 * 300);
  REQUIRE(model->Forward(batch(first, 0, 64), logits).ok());
  logits.resize(26 * 300);
  REQUIRE(model->Forward(batch(second, 64, 90), logits).ok());
  REQUIRE(SameBits(logits, {expected.begin() + 64 * 300, expected.end()}));
}

TEST_CASE("An extended context computes as a longer model does", "[model]") {
  TinyModel tiny;
  tiny.context = 32;
  const auto plain = LoadTiny(tiny, {.threads = 1, .context_length = 64});
  REQUIRE(plain->config().context_length == 32);
  const auto extended =
      LoadTiny(tiny, {.threads = 1, .context_length = 64, .extend_context = true});
  REQUIRE(extended->config().context_length == 64);
  tiny.context = 64;
  const auto longer = LoadTiny(tiny, {.threads = 1});
  const std::vector<int32_t> tokens = RandomTokens(50, 3);
  REQUIRE(
      SameBits(LogitsInChunks(*extended, tokens, 50, 64), LogitsInChunks(*longer, tokens, 50, 64)));
}

TEST_CASE("The fast table follows the oracle for every weight type", "[model]") {
  TinyModel tiny;
  tiny.type = GENERATE(from_range(std::begin(kTypes), std::end(kTypes)));
  tiny.tied = GENERATE(true, false);
  const std::vector<int32_t> tokens = RandomTokens(40, 2);
  const auto ref = LoadTiny(tiny, {.table = ModelOptions::Table::kRef, .threads = 2});
  const auto fast = LoadTiny(tiny, {.threads = 2});
  const std::vector<float> expected = LogitsInChunks(*ref, tokens, 40, 64);
  const std::vector<float> actual = LogitsInChunks(*fast, tokens, 40, 64);
  double error = 0;
  double power = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    error += std::pow(static_cast<double>(actual[i]) - expected[i], 2);
    power += std::pow(static_cast<double>(expected[i]), 2);
  }
  // int8 activations: about 1/254 of a block's largest value, each. Plain types round only in the
  // cache and the order of sums.
  const bool quantized = BlockSize(tiny.type) > 1;
  CAPTURE(Name(tiny.type), std::sqrt(error / power));
  REQUIRE(power > 0);
  REQUIRE(std::sqrt(error / power) < (quantized ? 0.03 : 1e-4));
}

}  // namespace
}  // namespace weft
