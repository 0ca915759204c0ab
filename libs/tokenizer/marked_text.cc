#include "libs/tokenizer/marked_text.h"

#include <algorithm>

namespace weft {

MarkedText MarkedText::Own(std::string text) {
  MarkedText out;
  out.text_ = std::move(text);
  return out;
}

MarkedText MarkedText::FromCaller(std::string text) {
  MarkedText out;
  out.text_ = std::move(text);
  if (!out.text_.empty()) out.caller_.push_back({0, out.text_.size()});
  return out;
}

void MarkedText::AppendFromCaller(std::string_view text) {
  if (text.empty()) return;
  const size_t begin = text_.size();
  text_ += text;
  if (!caller_.empty() && caller_.back().end == begin) {
    caller_.back().end = text_.size();
  } else {
    caller_.push_back({begin, text_.size()});
  }
}

void MarkedText::AppendPart(const MarkedText& other, size_t begin, size_t end) {
  const size_t shift = text_.size();
  text_.append(other.text_, begin, end - begin);
  auto range = std::upper_bound(other.caller_.begin(), other.caller_.end(), begin,
                                [](size_t at, const TextRange& known) { return at < known.end; });
  for (; range != other.caller_.end() && range->begin < end; ++range) {
    const TextRange moved{std::max(range->begin, begin) - begin + shift,
                          std::min(range->end, end) - begin + shift};
    if (!caller_.empty() && caller_.back().end == moved.begin) {
      caller_.back().end = moved.end;
    } else {
      caller_.push_back(moved);
    }
  }
}

MarkedText MarkedText::Part(size_t begin, size_t end) const {
  MarkedText out;
  out.AppendPart(*this, begin, end);
  return out;
}

}  // namespace weft
