// Text that knows which of its bytes came from the caller. A chat template mixes its own control
// tokens with texts of users; only the former may become control tokens when the whole is
// tokenised.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weft {

// The bytes [begin, end) of a text.
struct TextRange {
  size_t begin = 0;
  size_t end = 0;
  bool operator==(const TextRange&) const = default;
};

class MarkedText {
 public:
  MarkedText() = default;
  // Written by the template. There is no conversion from a plain string on purpose: who makes a
  // text says whose it is.
  static MarkedText Own(std::string text);
  static MarkedText FromCaller(std::string text);

  const std::string& text() const { return text_; }
  size_t size() const { return text_.size(); }
  bool empty() const { return text_.empty(); }
  // Ascending; neither empty nor touching each other.
  const std::vector<TextRange>& caller() const { return caller_; }
  // What it costs to hold, for the limits of a render.
  size_t bytes() const { return text_.size() + caller_.size() * sizeof(TextRange); }

  void AppendOwn(std::string_view text) { text_ += text; }
  void AppendFromCaller(std::string_view text);
  void Append(const MarkedText& other) { AppendPart(other, 0, other.size()); }
  void AppendPart(const MarkedText& other, size_t begin, size_t end);
  MarkedText Part(size_t begin, size_t end) const;
  void Reserve(size_t size) { text_.reserve(size); }

  // Calls sink(std::string_view run, bool from_caller) for each longest run of one origin.
  template <typename Sink>
  void ForRuns(Sink&& sink) const {
    const std::string_view all = text_;
    size_t at = 0;
    for (const TextRange& range : caller_) {
      if (at < range.begin) sink(all.substr(at, range.begin - at), false);
      sink(all.substr(range.begin, range.end - range.begin), true);
      at = range.end;
    }
    if (at < all.size()) sink(all.substr(at), false);
  }

  // `map` of the whole text, marked run by run. Where a map looks beyond a run (the last sigma of a
  // Greek word), so that its parts do not make the whole, all of it counts as the caller's.
  template <typename F>
  MarkedText Map(F&& map) const {
    std::string whole = map(std::string_view(text_));
    if (caller_.empty()) return Own(std::move(whole));
    MarkedText out;
    ForRuns([&](std::string_view run, bool from_caller) { out.AppendAs(map(run), from_caller); });
    return out.text_ == whole ? out : FromCaller(std::move(whole));
  }
  void AppendAs(std::string_view text, bool from_caller) {
    from_caller ? AppendFromCaller(text) : AppendOwn(text);
  }

 private:
  std::string text_;
  std::vector<TextRange> caller_;
};

}  // namespace weft
