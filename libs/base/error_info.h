// What a client needs besides code and message: the request field at fault, and when to try again.
// Both travel as payloads of absl::Status; rpc::ToGrpcStatus and the gateway's HTTP errors show
// them.
#pragma once

#include <absl/status/status.h>

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace weft {

// "sampling.temperature": the name of the field as the client wrote it. OK stays OK.
absl::Status WithField(absl::Status status, std::string_view field);
std::string FieldOf(const absl::Status& status);  // empty: none

// The client may try again after this long. Negative counts as zero. OK stays OK.
absl::Status WithRetryAfter(absl::Status status, std::chrono::milliseconds wait);
std::optional<std::chrono::milliseconds> RetryAfterOf(const absl::Status& status);

}  // namespace weft
