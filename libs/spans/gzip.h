// gzip (RFC 1952) of request bodies.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <string_view>

namespace weft::spans {

// INVALID_ARGUMENT: not gzip, or cut off. OUT_OF_RANGE: more than max_bytes when unpacked; no more
// than that is ever held.
absl::StatusOr<std::string> Gunzip(std::string_view compressed, size_t max_bytes);

std::string Gzip(std::string_view text);

}  // namespace weft::spans
