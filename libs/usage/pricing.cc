#include "libs/usage/pricing.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "libs/base/status.h"

namespace weft::usage {

absl::Status Pricing::Validate() const {
  std::set<std::string_view> models;
  for (size_t i = 0; i < prices_.size(); ++i) {
    const Price& price = prices_[i];
    if (price.model.empty()) return InvalidArgument("[{}].model: missing", i);
    if (price.model.find('*') < price.model.size() - 1) {
      return InvalidArgument("[{}].model: '*' may only be the last character", i);
    }
    if (!models.insert(price.model).second) {
      return InvalidArgument("[{}].model: '{}' is there twice", i, price.model);
    }
    for (const auto& [name, value] :
         {std::pair("prompt", price.prompt), std::pair("cached_prompt", price.cached_prompt),
          std::pair("completion", price.completion)}) {
      if (!(value >= 0 && value <= 1e9)) {
        return InvalidArgument("[{}].{}: must be a number from 0 to 1e9", i, name);
      }
    }
  }
  return absl::OkStatus();
}

const Price* Pricing::Find(std::string_view model) const {
  const Price* best = nullptr;
  for (const Price& price : prices_) {
    if (price.model == model) return &price;
    if (price.model.back() != '*') continue;
    const std::string_view begin(price.model.data(), price.model.size() - 1);
    if (model.substr(0, begin.size()) != begin) continue;
    if (best == nullptr || price.model.size() > best->model.size()) best = &price;
  }
  return best;
}

int64_t Pricing::CostMicros(std::string_view model, uint64_t prompt, uint64_t cached_prompt,
                            uint64_t completion) const {
  const Price* price = Find(model);
  if (price == nullptr) return 0;
  // A price for a million tokens in the currency is the price of one token in its millionths.
  const uint64_t cached = std::min(cached_prompt, prompt);
  const double micros = static_cast<double>(prompt - cached) * price->prompt +
                        static_cast<double>(cached) * price->cached_prompt +
                        static_cast<double>(completion) * price->completion;
  return std::llround(std::min(micros, 9e18));
}

}  // namespace weft::usage
