#include "libs/base/error_info.h"

#include <absl/strings/cord.h>

#include <algorithm>
#include <charconv>

namespace weft {
namespace {

constexpr char kField[] = "weft/field";
constexpr char kRetryAfter[] = "weft/retry_after_ms";

std::optional<std::string> Payload(const absl::Status& status, const char* url) {
  const auto payload = status.GetPayload(url);
  if (!payload.has_value()) return std::nullopt;
  return std::string(*payload);
}

}  // namespace

absl::Status WithField(absl::Status status, std::string_view field) {
  if (!status.ok()) status.SetPayload(kField, absl::Cord(std::string(field)));
  return status;
}

std::string FieldOf(const absl::Status& status) {
  return Payload(status, kField).value_or(std::string());
}

absl::Status WithRetryAfter(absl::Status status, std::chrono::milliseconds wait) {
  const auto ms = std::max<int64_t>(0, wait.count());
  if (!status.ok()) status.SetPayload(kRetryAfter, absl::Cord(std::to_string(ms)));
  return status;
}

std::optional<std::chrono::milliseconds> RetryAfterOf(const absl::Status& status) {
  const std::optional<std::string> text = Payload(status, kRetryAfter);
  if (!text) return std::nullopt;
  int64_t ms = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), ms);
  if (error != std::errc() || end != text->data() + text->size()) return std::nullopt;
  return std::chrono::milliseconds(ms);
}

}  // namespace weft
