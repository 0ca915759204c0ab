#include "libs/ops/expert_choice.h"

#include <algorithm>
#include <vector>

namespace weft {
namespace {

// The probability of an expert, or -1 when it may not be chosen (again).
constexpr float kTaken = -1.0f;

int32_t Largest(const float* values, int32_t count) {
  return static_cast<int32_t>(std::max_element(values, values + count) - values);
}

// Experts outside the best groups are taken out.
void KeepBestGroups(const RouteArgs& args, std::vector<float>& left) {
  const int32_t size = args.experts / args.groups;
  std::vector<float> best(static_cast<size_t>(args.groups));
  for (int32_t g = 0; g < args.groups; ++g) {
    best[static_cast<size_t>(g)] =
        *std::max_element(left.begin() + g * size, left.begin() + (g + 1) * size);
  }
  std::vector<float> kept(left.size(), kTaken);
  for (int32_t n = 0; n < args.groups_used; ++n) {
    const int32_t g = Largest(best.data(), args.groups);
    best[static_cast<size_t>(g)] = 2 * kTaken;
    std::copy_n(left.begin() + g * size, size, kept.begin() + g * size);
  }
  left = std::move(kept);
}

}  // namespace

void ChooseExperts(const RouteArgs& args, int64_t row) {
  const float* probabilities = args.logits + row * args.experts;
  std::vector<float> left(probabilities, probabilities + args.experts);
  if (args.groups_used < args.groups) KeepBestGroups(args, left);
  int32_t* chosen = args.chosen + row * args.used;
  float* weights = args.weights + row * args.used;
  float sum = 0;
  for (int32_t k = 0; k < args.used; ++k) {
    const int32_t expert = Largest(left.data(), args.experts);
    chosen[k] = expert;
    weights[k] = probabilities[expert];
    sum += weights[k];
    left[static_cast<size_t>(expert)] = 2 * kTaken;  // below those that only their group excludes
  }
  // Never a division by 0: sigmoids may all vanish.
  const float factor = args.normalise ? args.scale / std::max(sum, 1e-20f) : args.scale;
  for (int32_t k = 0; k < args.used; ++k) weights[k] *= factor;
}

void PermuteSlots(const PermuteArgs& args, OpContext&) {
  const int64_t slots = args.rows * args.used;
  std::fill_n(args.first, args.experts + 1, 0);
  for (int64_t slot = 0; slot < slots; ++slot) ++args.first[args.chosen[slot] + 1];
  for (int32_t e = 0; e < args.experts; ++e) args.first[e + 1] += args.first[e];
  std::vector<int32_t> next(args.first, args.first + args.experts);
  for (int64_t slot = 0; slot < slots; ++slot) {
    const int32_t place = next[static_cast<size_t>(args.chosen[slot])]++;
    args.place[slot] = place;
    args.row_at[place] = static_cast<int32_t>(slot) / args.used;
  }
}

}  // namespace weft
