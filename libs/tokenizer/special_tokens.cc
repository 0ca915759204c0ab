#include "libs/tokenizer/special_tokens.h"

#include <algorithm>

namespace weft {

void SpecialTokens::Add(std::string_view text, int32_t id, bool guarded) {
  if (ids_.empty()) ids_.push_back(-1);
  uint64_t node = 0;
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    const auto [child, is_new] =
        children_.emplace(node << 8 | byte, static_cast<uint32_t>(ids_.size()));
    if (is_new) ids_.push_back(-1);
    node = child->second;
  }
  guarded_.resize(ids_.size());
  if (ids_[node] < 0) {
    ids_[node] = id;
    guarded_[node] = guarded;
  }
  first_bytes_.set(static_cast<uint8_t>(text[0]));
}

bool SpecialTokens::FindNext(std::string_view text, size_t from, std::span<const TextRange> literal,
                             Match& match) const {
  auto range = std::upper_bound(literal.begin(), literal.end(), from,
                                [](size_t at, const TextRange& known) { return at < known.end; });
  for (size_t begin = from; begin < text.size(); ++begin) {
    if (!first_bytes_.test(static_cast<uint8_t>(text[begin]))) continue;
    while (range != literal.end() && range->end <= begin) ++range;
    // Where a guarded token that begins here must have ended.
    const size_t limit = range != literal.end() ? range->begin : text.size();
    uint64_t node = 0;
    bool found = false;
    for (size_t at = begin; at < text.size(); ++at) {
      const auto child = children_.find(node << 8 | static_cast<uint8_t>(text[at]));
      if (child == children_.end()) break;
      node = child->second;
      if (ids_[node] >= 0 && (!guarded_[node] || at < limit)) {
        match = {begin, at + 1, ids_[node]};
        found = true;
      }
    }
    if (found) return true;
  }
  return false;
}

}  // namespace weft
