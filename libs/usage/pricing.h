// What tokens cost.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace weft::usage {

// Of a million tokens, in the currency.
struct Price {
  std::string model;  // a model's id, a beginning with '*' ("code-*"), or "*" for all
  double prompt = 0;
  double cached_prompt = 0;  // of the prompt, found in the prefix cache
  double completion = 0;
};

// Immutable.
class Pricing {
 public:
  explicit Pricing(std::vector<Price> prices = {}) : prices_(std::move(prices)) {}
  // INVALID_ARGUMENT names the entry: a price below 0 or that is not a number, no model, a '*'
  // inside, a model that comes twice.
  absl::Status Validate() const;

  // The exact name before the longest beginning; nullptr: costs nothing.
  const Price* Find(std::string_view model) const;
  // Millionths of the currency, rounded half up. `prompt` is with the cached ones.
  int64_t CostMicros(std::string_view model, uint64_t prompt, uint64_t cached_prompt,
                     uint64_t completion) const;
  bool empty() const { return prices_.empty(); }

 private:
  std::vector<Price> prices_;
};

}  // namespace weft::usage
