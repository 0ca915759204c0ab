#include "libs/tokenizer/spaces.h"

namespace weft {

std::string UnescapeSpaces(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0;;) {
    const size_t found = text.find(kEscapedSpace, at);
    out += text.substr(at, found - at);
    if (found == std::string_view::npos) return out;
    out += ' ';
    at = found + kEscapedSpace.size();
  }
}

std::string SpaceRules::Apply(std::string_view text, const TextPart& part) const {
  std::string kept;  // where a U+2581 of the text itself is kept, except at the end
  if (remove_extra) {
    bool after_space = part.is_first;
    for (const char c : text) {
      if (c != ' ' || !after_space) kept += c;
      after_space = c == ' ';
    }
    text = kept;
  }
  std::string body = UnescapeSpaces(text);
  while (remove_extra && part.is_last && body.ends_with(' ')) body.pop_back();
  bool add = false;
  switch (prefix) {
    case Prefix::kNone:
      break;
    case Prefix::kFirst:
      add = part.is_first && !body.empty();
      break;
    case Prefix::kFirstAndAfterControl:
      add = (part.is_first || part.follows_control) && (!body.empty() || part.user_token >= 0);
      break;
    case Prefix::kEach:
      add = !body.empty();
      break;
    case Prefix::kFirstIfMissing:
      add = part.is_first && !body.empty() && body[0] != ' ';
      break;
    case Prefix::kEachIfMissing:
      add = !body.empty() && body[0] != ' ';
      break;
  }
  if (add && !part.continues) body.insert(body.begin(), ' ');
  return body;
}

}  // namespace weft
