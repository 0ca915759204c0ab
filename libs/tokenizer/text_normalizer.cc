#include "libs/tokenizer/text_normalizer.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "libs/base/status.h"
#include "libs/tokenizer/unicode.h"
#include "libs/tokenizer/utf8.h"

namespace weft {
namespace {

constexpr std::pair<std::string_view, unicode::NormalForm> kForms[] = {
    {"nfc", unicode::NormalForm::kNfc},
    {"nfd", unicode::NormalForm::kNfd},
    {"nfkc", unicode::NormalForm::kNfkc},
    {"nfkd", unicode::NormalForm::kNfkd}};

bool IsAscii(std::string_view text) {
  return std::none_of(text.begin(), text.end(),
                      [](char c) { return static_cast<uint8_t>(c) >= 0x80; });
}

// Each character for itself: no final sigma, as in the reference.
std::string Lowercase(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = DecodeUtf8(text, at);
    out += unicode::Lower(text.substr(at, c.length));
    at += c.length;
  }
  return out;
}

std::string_view StripLeft(std::string_view text) {
  while (!text.empty()) {
    const Utf8Char c = DecodeUtf8(text, 0);
    if (!unicode::Is(c.code_point, unicode::kSpace)) break;
    text.remove_prefix(c.length);
  }
  return text;
}

std::string_view StripRight(std::string_view text) {
  size_t end = 0;
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = DecodeUtf8(text, at);
    at += c.length;
    if (!unicode::Is(c.code_point, unicode::kSpace)) end = at;
  }
  return text.substr(0, end);
}

// With `runs`, two or more in a row become one `to`; otherwise each does.
std::string Replace(std::string_view text, std::string_view from, std::string_view to, bool runs) {
  std::string out;
  for (size_t at = 0;;) {
    const size_t found = text.find(from, at);
    out += text.substr(at, found - at);
    if (found == std::string_view::npos) return out;
    at = found + from.size();
    if (!runs) {
      out += to;
      continue;
    }
    size_t count = 1;
    for (; text.substr(at).starts_with(from); at += from.size()) ++count;
    out += count > 1 ? to : from;
  }
}

}  // namespace

absl::StatusOr<TextNormalizer> TextNormalizer::Create(std::span<const std::string_view> steps,
                                                      std::shared_ptr<const Charsmap> charsmap) {
  TextNormalizer out;
  out.charsmap_ = std::move(charsmap);
  for (size_t i = 0; i < steps.size(); ++i) {
    std::string_view rest = steps[i];
    const auto next = [&rest] {
      const size_t cut = rest.find('\x1f');
      const std::string_view part = rest.substr(0, cut);
      rest = cut == std::string_view::npos ? std::string_view() : rest.substr(cut + 1);
      return std::string(part);
    };
    const std::string name = next();
    const auto* form = std::find_if(std::begin(kForms), std::end(kForms),
                                    [&name](const auto& known) { return known.first == name; });
    if (form != std::end(kForms)) {
      out.steps_.push_back({Step::kForm, {}, {}, form->second});
    } else if (name == "lowercase") {
      out.steps_.push_back({Step::kLowercase, {}, {}});
    } else if (name == "strip_left") {
      out.steps_.push_back({Step::kStripLeft, {}, {}});
    } else if (name == "strip_right") {
      out.steps_.push_back({Step::kStripRight, {}, {}});
    } else if (name == "prepend") {
      out.steps_.push_back({Step::kPrepend, {}, std::string(rest)});
    } else if (name == "replace" || name == "replace_runs") {
      const std::string from = next();
      if (from.empty()) {
        return InvalidArgument("weft.tokenizer.normalizer[{}] replaces nothing", i);
      }
      out.steps_.push_back(
          {name == "replace" ? Step::kReplace : Step::kReplaceRuns, from, std::string(rest)});
    } else if (name == "precompiled" && out.charsmap_ != nullptr) {
      out.steps_.push_back({Step::kPrecompiled, {}, {}});
    } else {
      return Unimplemented("weft.tokenizer.normalizer[{}] '{}' is not supported", i, name);
    }
  }
  return out;
}

std::string TextNormalizer::Run(const Step& step, const Charsmap* charsmap, std::string_view text) {
  switch (step.kind) {
    case Step::kForm:
      return unicode::Normalize(text, step.form);
    case Step::kLowercase:
      return Lowercase(text);
    case Step::kStripLeft:
      return std::string(StripLeft(text));
    case Step::kStripRight:
      return std::string(StripRight(text));
    case Step::kPrepend:
      return text.empty() ? std::string() : step.to + std::string(text);
    case Step::kReplace:
    case Step::kReplaceRuns:
      return Replace(text, step.from, step.to, step.kind == Step::kReplaceRuns);
    case Step::kPrecompiled:
      return charsmap->Apply(text);
  }
  return std::string(text);
}

std::string_view TextNormalizer::Apply(std::string_view text, std::string& buffer) const {
  for (const Step& step : steps_) {
    if (step.kind == Step::kForm && IsAscii(text)) continue;
    std::string changed = Run(step, charsmap_.get(), text);
    buffer.swap(changed);
    text = buffer;
  }
  return text;
}

size_t TextNormalizer::MostBytesPerByte() const {
  size_t most = 1;
  for (const Step& step : steps_) {
    switch (step.kind) {
      case Step::kForm:  // three bytes of nine (Hangul); four of one by compatibility
      case Step::kLowercase:
        most *= 4;
        break;
      case Step::kPrepend:
        break;
      case Step::kReplace:
        if (step.to.empty()) return 0;
        most *= (step.from.size() + step.to.size() - 1) / step.to.size();
        break;
      default:
        return 0;
    }
  }
  return most;
}

}  // namespace weft
