// Reads typed members of a JSON object; every error names the member by its path, in OpenAI's
// words.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace weft::gateway {

// Not thread safe; the object must outlive it. A member that is null counts as absent. The first
// error sticks: later reads do nothing, and Finish returns it.
class ParamReader {
 public:
  // `path` is "" at the top, "messages[2]" below.
  ParamReader(const nlohmann::json& object, std::string path);

  // The member if it is there and not null; marks it as known.
  const nlohmann::json* Get(std::string_view name);

  bool Bool(std::string_view name, bool fallback);
  double Number(std::string_view name, double fallback, double min, double max);
  // As Number, but `min` itself is not allowed.
  double NumberAbove(std::string_view name, double fallback, double min, double max);
  int64_t Integer(std::string_view name, int64_t fallback, int64_t min, int64_t max);
  std::optional<int64_t> OptionalInteger(std::string_view name, int64_t min, int64_t max);
  std::string Text(std::string_view name, std::string_view fallback, size_t max_bytes);
  std::string RequiredText(std::string_view name, size_t max_bytes);

  // A list of at most `max_items` texts; empty when it is absent.
  std::vector<std::string> Texts(std::string_view name, size_t max_items, size_t max_bytes);

  // A parameter of the API that this server cannot honour: an error unless it is absent.
  void Refuse(std::string_view name, std::string_view why);
  // A parameter that changes nothing here.
  void Ignore(std::string_view name);
  // Whatever else there is changes nothing here.
  void IgnoreRest() { ignore_rest_ = true; }

  std::string PathOf(std::string_view name) const;
  void Fail(absl::Status status);
  absl::Status WrongType(std::string_view name, std::string_view expected,
                         const nlohmann::json& value) const;
  bool ok() const { return status_.ok(); }
  // The first error; else an error for the first member that nobody asked for.
  absl::Status Finish();

 private:
  double CheckedNumber(std::string_view name, double fallback, double min, double max,
                       bool exclusive);

  const nlohmann::json& object_;
  const std::string path_;
  std::set<std::string, std::less<>> known_;
  bool ignore_rest_ = false;
  absl::Status status_;
};

}  // namespace weft::gateway
