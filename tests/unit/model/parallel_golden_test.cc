// The default model (9 heads, 3 heads of keys, 30 layers) in parts against one rank.
#include <cstdlib>
#include <string>

#include "libs/base/status.h"
#include "libs/model/parallel_model.h"
#include "tests/unit/model/family_goldens.h"

namespace weft {
namespace {

using test::Greedy;
using test::SameBits;

// Three ranks against one. Fast table: sums in another order move activations across the borders of
// their codes; the bound is that of the fast table against the oracle (golden_test.cc).
constexpr double kFastMeanKl = 0.005;
// Oracle: fp32 with another order of sums through 30 layers, of the row's largest logit.
constexpr double kRefError = 5e-5;

std::string ModelPath() {
  if (const char* path = std::getenv("WEFT_MODEL"); path != nullptr && *path != '\0') return path;
  const char* home = std::getenv("WEFT_HOME");
  return std::string(home != nullptr && *home != '\0' ? home : ".weft") +
         "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
}

struct Said {
  std::vector<int32_t> text;
  std::vector<float> logits;  // of every position
};

Said Say(ModelRunner& model, const std::vector<int32_t>& prompt, size_t count) {
  Said said;
  said.text = Greedy(model, prompt, count, said.logits);
  return said;
}

Said SayInParts(const ModelOptions& options, const Parallelism& group,
                const std::vector<int32_t>& prompt, size_t count) {
  auto model = ParallelModel::Load(ModelPath(), options, {.group = group});
  INFO(ToString(model.status()));
  REQUIRE(model.ok());
  return Say(**model, prompt, count);
}

std::vector<int32_t> Prompt(size_t index) {
  return test::ReadJson("tests/data/golden/smollm2_135m.json")["cases"][index]["prompt_ids"];
}

TEST_CASE("The default model on 3 ranks, 2 stages and both says what it says on one",
          "[model][parallel]") {
  const std::vector<int32_t> prompt = Prompt(0);
  constexpr size_t kTokens = 24;
  const Said one = Say(*test::LoadModel(ModelPath(), ModelOptions{}), prompt, kTokens);
  const Said stages = SayInParts({}, {1, 2}, prompt, kTokens);
  CHECK(stages.text == one.text);
  CHECK(SameBits(stages.logits, one.logits));

  const Said parts = SayInParts({}, {3, 1}, prompt, kTokens);
  CHECK(parts.text == one.text);
  const double kl = test::MeanKl(one.logits, parts.logits, 49152);
  CAPTURE(kl);
  CHECK(kl <= kFastMeanKl);
  CHECK(SameBits(SayInParts({}, {3, 2}, prompt, kTokens).logits, parts.logits));
}

TEST_CASE("The oracle of the default model on 3 ranks and 2 stages says what it says on one",
          "[.full]") {
  const std::vector<int32_t> prompt = Prompt(0);
  constexpr size_t kTokens = 16;
  const Said one = Say(*test::LoadModel(ModelPath(), test::Ref()), prompt, kTokens);
  const Said parts = SayInParts(test::Ref(), {3, 2}, prompt, kTokens);
  CHECK(parts.text == one.text);
  REQUIRE(parts.logits.size() == one.logits.size());
  double largest = 0;
  for (size_t i = 0; i < one.logits.size(); i += 49152) {
    largest = std::max(largest, test::RowError(&one.logits[i], &parts.logits[i], 49152));
  }
  CAPTURE(largest);
  CHECK(largest <= kRefError);
}

}  // namespace
}  // namespace weft
