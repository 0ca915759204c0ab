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
using test::MeanKl;
using test::Ref;
using test::SameBits;

using test::kFastMeanKl;

std::unique_ptr<Model> LoadFamily(const std::string& name, const ModelOptions& options) {
  return test::LoadModel(test::FamilyFolder(name), options);
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
