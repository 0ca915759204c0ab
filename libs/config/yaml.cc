#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <sstream>

#include "libs/base/status.h"
#include "libs/config/value.h"

namespace weft::config {
namespace {

// Ends the parse from inside yaml-cpp's callbacks; caught in ParseYaml, never leaves this file.
struct Refused {
  int line;
  std::string message;
};

class TreeBuilder final : public YAML::EventHandler {
 public:
  TreeBuilder(std::shared_ptr<const std::string> origin, YamlLimits limits)
      : origin_(std::move(origin)), limits_(limits) {}

  Value Take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    throw Refused{mark.line + 1, "aliases are not allowed; write the value out"};
  }
  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override { Add(Make(mark)); }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                const std::string& text) override {
    Value value = Make(mark);
    // yaml-cpp gives "!" to quoted scalars and "?" to plain ones.
    value.quoted = tag == "!";
    const bool null = !value.quoted && (text.empty() || text == "~" || text == "null");
    value.kind = null ? Value::Kind::kNull : Value::Kind::kScalar;
    if (!null) value.scalar = text;
    Add(std::move(value));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    Open(mark, Value::Kind::kList);
  }
  void OnSequenceEnd() override { CloseTop(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {
    Open(mark, Value::Kind::kMap);
  }
  void OnMapEnd() override { CloseTop(); }

 private:
  struct Frame {
    Value value;
    bool has_key = false;
    std::string key;
    int key_line = 0;
  };

  Value Make(const YAML::Mark& mark) {
    Value value;
    value.origin = origin_;
    value.line = mark.line + 1;
    if (++nodes_ > limits_.nodes) {
      throw Refused{value.line, fmt::format("more than {} values", limits_.nodes)};
    }
    return value;
  }

  void Open(const YAML::Mark& mark, Value::Kind kind) {
    Frame frame;
    frame.value = Make(mark);
    frame.value.kind = kind;
    if (!frames_.empty() && AtKey()) {
      throw Refused{frame.value.line, "a key must be plain text"};
    }
    frames_.push_back(std::move(frame));
    if (static_cast<int>(frames_.size()) > limits_.depth) {
      throw Refused{mark.line + 1, fmt::format("nested deeper than {} levels", limits_.depth)};
    }
  }

  void CloseTop() {
    Value value = std::move(frames_.back().value);
    frames_.pop_back();
    Add(std::move(value));
  }

  bool AtKey() const {
    return frames_.back().value.kind == Value::Kind::kMap && !frames_.back().has_key;
  }

  void Add(Value value) {
    if (frames_.empty()) {
      root_ = std::move(value);
      return;
    }
    Frame& top = frames_.back();
    if (AtKey()) {
      TakeKey(top, value);
    } else if (top.value.kind == Value::Kind::kMap) {
      top.value.map.push_back({std::move(top.key), top.key_line, std::move(value)});
      top.has_key = false;
    } else {
      top.value.list.push_back(std::move(value));
    }
  }

  static void TakeKey(Frame& top, const Value& value) {
    if (value.kind != Value::Kind::kScalar) {
      throw Refused{value.line, "a key must be plain text"};
    }
    if (value.scalar == "<<") throw Refused{value.line, "merge keys are not allowed"};
    for (const Value::Entry& entry : top.value.map) {
      if (entry.key == value.scalar) {
        throw Refused{value.line, fmt::format("the key '{}' is here twice, first in line {}",
                                              value.scalar, entry.line)};
      }
    }
    top.has_key = true;
    top.key = value.scalar;
    top.key_line = value.line;
  }

  const std::shared_ptr<const std::string> origin_;
  const YamlLimits limits_;
  size_t nodes_ = 0;
  std::vector<Frame> frames_;
  Value root_;
};

absl::Status At(const std::string& origin, int line, std::string_view message) {
  return InvalidArgument("{}:{}: {}", origin, line, message);
}

}  // namespace

absl::StatusOr<Value> ParseYaml(std::string_view text, std::string origin, YamlLimits limits) {
  if (text.size() > limits.bytes) {
    return InvalidArgument("{}: {} bytes, more than the limit of {}", origin, text.size(),
                           limits.bytes);
  }
  auto shared_origin = std::make_shared<const std::string>(origin);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    TreeBuilder builder(shared_origin, limits);
    Value root;
    if (parser.HandleNextDocument(builder)) {
      root = builder.Take();
      TreeBuilder second(shared_origin, limits);
      if (parser.HandleNextDocument(second)) {
        return InvalidArgument("{}: holds more than one YAML document", origin);
      }
    }
    if (root.kind == Value::Kind::kNull) root.kind = Value::Kind::kMap;
    root.origin = shared_origin;
    return root;
  } catch (const Refused& refused) {
    return At(origin, refused.line, refused.message);
  } catch (const YAML::Exception& error) {
    return At(origin, error.mark.line + 1, error.msg);
  } catch (const std::exception& error) {
    return InvalidArgument("{}: not valid YAML: {}", origin, error.what());
  }
}

}  // namespace weft::config
