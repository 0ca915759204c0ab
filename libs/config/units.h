// Durations ("50ms", "1m30s") and sizes ("64MiB") as people write them.
#pragma once

#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace weft::config {

// Parts of a number and a unit (ns us ms s m h), e.g. "1m30s", "2.5s", "-5s". "0" needs no unit.
absl::StatusOr<std::chrono::nanoseconds> ParseDuration(std::string_view text);
// The shortest exact form: "1500ms", "2s", "90m".
std::string FormatDuration(std::chrono::nanoseconds duration);

// A whole or decimal number and B, KiB, MiB, GiB, TiB, kB, MB, GB or TB. No unit means bytes.
absl::StatusOr<uint64_t> ParseBytes(std::string_view text);
std::string FormatBytes(uint64_t bytes);

}  // namespace weft::config
