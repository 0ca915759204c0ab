// Every family against `transformers`: tiny random checkpoints of tests/data/families with the
// logits and greedy texts that tests/data/golden/make_family_goldens.py computed for them in fp32.
#include <algorithm>
#include <cmath>
#include <string>

#include "libs/device/cpu_features.h"
#include "tests/unit/model/family_goldens.h"

namespace weft {
namespace {

using test::AllTokens;
using test::Golden;
using test::LogitsInChunks;
using test::Ref;
using test::SameBits;

// The fast table (int8 activations, F16 cache) against the oracle, over all rows of a checkpoint.
// Random networks are much more sensitive than trained ones.
constexpr double kFastMeanKl = 0.01;

std::unique_ptr<Model> LoadFamily(const std::string& name, const ModelOptions& options) {
  return test::LoadModel(test::FamilyFolder(name), options);
}

double MeanKl(const std::vector<float>& expected, const std::vector<float>& found, size_t vocab) {
  REQUIRE(expected.size() == found.size());
  const auto log_total = [vocab](const float* row) {
    const double top = *std::max_element(row, row + vocab);
    double sum = 0;
    for (size_t i = 0; i < vocab; ++i) sum += std::exp(row[i] - top);
    return top + std::log(sum);
  };
  double kl = 0;
  for (size_t at = 0; at < expected.size(); at += vocab) {
    const double total = log_total(&expected[at]);
    const double other = log_total(&found[at]);
    for (size_t i = at; i < at + vocab; ++i) {
      kl += std::exp(expected[i] - total) * ((expected[i] - total) - (found[i] - other));
    }
  }
  return kl / (static_cast<double>(expected.size()) / static_cast<double>(vocab));
}

TEST_CASE("The oracle's logits and greedy text of every family are those of transformers",
          "[model][families]") {
  const std::string name =
      GENERATE(from_range(std::begin(test::kFamilies), std::end(test::kFamilies)));
  CAPTURE(name);
  test::CheckGolden(*LoadFamily(name, Ref()), Golden(name));
}

TEST_CASE("Every family computes the same bits by prefill, decode and chunks",
          "[model][families]") {
  const std::string name =
      GENERATE(from_range(std::begin(test::kFamilies), std::end(test::kFamilies)));
  const bool ref = GENERATE(true, false);
  CAPTURE(name, ref);
  const auto model = LoadFamily(name, ref ? Ref() : ModelOptions{.threads = 1});
  const std::vector<int32_t> tokens = AllTokens(Golden(name)["cases"].back());
  const std::vector<float> whole = LogitsInChunks(*model, tokens, tokens.size(), 64);
  CHECK(SameBits(LogitsInChunks(*model, tokens, 1, 16), whole));
  CHECK(SameBits(LogitsInChunks(*model, tokens, 13, 32), whole));
}

TEST_CASE("The fast table stays near the oracle in every family, with one result on all levels",
          "[model][families]") {
  const std::string name =
      GENERATE(from_range(std::begin(test::kFamilies), std::end(test::kFamilies)));
  CAPTURE(name);
  const std::vector<int32_t> tokens = AllTokens(Golden(name)["cases"].back());
  const auto ref = LoadFamily(name, Ref());
  const std::vector<float> expected = LogitsInChunks(*ref, tokens, tokens.size(), 64);
  std::vector<float> first;
  for (const Isa isa : AvailableIsas()) {
    const auto fast = LoadFamily(name, {.isa = std::string(Name(isa)), .threads = 2});
    const std::vector<float> found = LogitsInChunks(*fast, tokens, tokens.size(), 64);
    if (first.empty()) {
      first = found;
      CHECK(MeanKl(expected, found, static_cast<size_t>(ref->config().vocab)) <= kFastMeanKl);
    }
    CAPTURE(std::string(Name(isa)));
    CHECK(SameBits(found, first));
  }
}

}  // namespace
}  // namespace weft
