#include "libs/json/strict_json.h"

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "libs/base/status.h"

namespace weft {
namespace {

using nlohmann::json;

// Control characters and broken UTF-8 of the input must not come back in the message.
std::string Printable(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 60)) {
    out.push_back(c >= 0x20 && c < 0x7f ? c : '?');
  }
  return out;
}

class Builder final : public nlohmann::json_sax<json> {
 public:
  explicit Builder(JsonLimits limits) : limits_(limits) {}

  bool null() override { return Put(json()); }
  bool boolean(bool value) override { return Put(json(value)); }
  bool number_integer(number_integer_t value) override { return Put(json(value)); }
  bool number_unsigned(number_unsigned_t value) override { return Put(json(value)); }
  bool number_float(number_float_t value, const string_t&) override { return Put(json(value)); }
  bool string(string_t& value) override { return Put(json(std::move(value))); }
  bool binary(binary_t&) override { return Fail("binary values are not JSON"); }

  bool start_object(std::size_t) override { return Open(json::object()); }
  bool start_array(std::size_t) override { return Open(json::array()); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }

  bool key(string_t& name) override {
    json& object = *stack_.back();
    if (object.contains(name)) {
      return Fail(fmt::format("the key \"{}\" is there twice", Printable(name)));
    }
    key_ = std::move(name);
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    // Of nlohmann's "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error
    // while parsing value - invalid literal; last read: 'x'" only the reason is for clients.
    std::string_view what = error.what();
    const size_t dash = what.find(" - ");
    std::string_view reason = dash == std::string_view::npos ? "it is cut" : what.substr(dash + 3);
    if (const size_t last = reason.find("; last read"); last != std::string_view::npos) {
      reason = reason.substr(0, last);
    }
    return Fail(fmt::format("{} at byte {}", Printable(reason), position));
  }

  json Take() { return std::move(root_); }
  const std::string& problem() const { return problem_; }

 private:
  bool Fail(std::string problem) {
    if (problem_.empty()) problem_ = std::move(problem);
    return false;
  }

  json* Place(json value) {
    if (++values_ > limits_.values) {
      Fail(fmt::format("more than {} values", limits_.values));
      return nullptr;
    }
    if (stack_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    json& parent = *stack_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    json& member = parent[key_];
    member = std::move(value);
    return &member;
  }
  bool Put(json value) { return Place(std::move(value)) != nullptr; }
  bool Open(json container) {
    if (stack_.size() >= limits_.depth) {
      return Fail(fmt::format("nested deeper than {} levels", limits_.depth));
    }
    json* placed = Place(std::move(container));
    if (placed == nullptr) return false;
    stack_.push_back(placed);
    return true;
  }
  bool Close() {
    stack_.pop_back();
    return true;
  }

  const JsonLimits limits_;
  json root_;
  std::vector<json*> stack_;  // parents do not move while a child is open
  std::string key_;
  size_t values_ = 0;
  std::string problem_;
};

}  // namespace

absl::StatusOr<json> ParseStrictJson(std::string_view text, JsonLimits limits) {
  Builder builder(limits);
  // Third-party edge: the SAX interface reports by value, but memory may still run out.
  try {
    if (!json::sax_parse(text.begin(), text.end(), &builder)) {
      return InvalidArgument("not valid JSON: {}", builder.problem());
    }
    return builder.Take();
  } catch (const std::exception&) {
    return InvalidArgument("not valid JSON");
  }
}

}  // namespace weft
