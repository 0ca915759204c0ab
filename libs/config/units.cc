#include "libs/config/units.h"

#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include "libs/base/status.h"

namespace weft::config {
namespace {

struct Unit {
  std::string_view name;
  uint64_t scale;
};

constexpr std::array<Unit, 6> kTimes = {{{"h", 3'600'000'000'000},
                                         {"m", 60'000'000'000},
                                         {"s", 1'000'000'000},
                                         {"ms", 1'000'000},
                                         {"us", 1'000},
                                         {"ns", 1}}};

constexpr std::array<Unit, 9> kSizes = {{{"TiB", uint64_t{1} << 40},
                                         {"GiB", uint64_t{1} << 30},
                                         {"MiB", uint64_t{1} << 20},
                                         {"KiB", uint64_t{1} << 10},
                                         {"TB", 1'000'000'000'000},
                                         {"GB", 1'000'000'000},
                                         {"MB", 1'000'000},
                                         {"kB", 1'000},
                                         {"B", 1}}};

template <size_t N>
const Unit* FindUnit(const std::array<Unit, N>& units, std::string_view name) {
  for (const Unit& unit : units) {
    if (unit.name == name) return &unit;
  }
  return nullptr;
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// Takes "12" or "12.5" from the front of text. Whole numbers stay exact.
bool TakeNumber(std::string_view& text, uint64_t& whole, double& fraction) {
  size_t end = 0;
  while (end < text.size() && IsDigit(text[end])) ++end;
  if (end == 0) return false;
  const auto parsed = std::from_chars(text.data(), text.data() + end, whole);
  if (parsed.ec != std::errc()) return false;
  fraction = 0;
  if (end < text.size() && text[end] == '.') {
    size_t stop = end + 1;
    double scale = 0.1;
    while (stop < text.size() && IsDigit(text[stop])) {
      fraction += (text[stop] - '0') * scale;
      scale /= 10;
      ++stop;
    }
    if (stop == end + 1) return false;
    end = stop;
  }
  text.remove_prefix(end);
  return true;
}

std::string_view TakeWord(std::string_view& text) {
  size_t end = 0;
  while (end < text.size() && !IsDigit(text[end])) ++end;
  const std::string_view word = text.substr(0, end);
  text.remove_prefix(end);
  return word;
}

// whole * scale + fraction * scale, or false when it does not fit.
bool Scale(uint64_t whole, double fraction, uint64_t scale, uint64_t limit, uint64_t& out) {
  if (whole > limit / scale) return false;
  const uint64_t base = whole * scale;
  const auto rest = static_cast<uint64_t>(std::llround(fraction * static_cast<double>(scale)));
  if (rest > limit - base) return false;
  out = base + rest;
  return true;
}

}  // namespace

absl::StatusOr<std::chrono::nanoseconds> ParseDuration(std::string_view text) {
  constexpr uint64_t kLimit = std::numeric_limits<int64_t>::max();
  const std::string_view all = text;
  const auto bad = [&](std::string_view why) {
    return InvalidArgument("{} (a duration looks like 50ms, 5s or 1m30s)", why);
  };
  bool negative = false;
  if (!text.empty() && text.front() == '-') {
    negative = true;
    text.remove_prefix(1);
  }
  if (text == "0") return std::chrono::nanoseconds(0);
  if (text.empty()) return bad("no duration");
  uint64_t total = 0;
  while (!text.empty()) {
    uint64_t whole = 0;
    double fraction = 0;
    if (!TakeNumber(text, whole, fraction)) return bad(fmt::format("'{}' is not a duration", all));
    const std::string_view name = TakeWord(text);
    if (name.empty()) return bad(fmt::format("'{}' has no unit", all));
    const Unit* unit = FindUnit(kTimes, name);
    if (unit == nullptr) return bad(fmt::format("'{}' is not a unit of time", name));
    uint64_t part = 0;
    if (!Scale(whole, fraction, unit->scale, kLimit - total, part)) return bad("too long");
    total += part;
  }
  const auto nanos = static_cast<int64_t>(total);
  return std::chrono::nanoseconds(negative ? -nanos : nanos);
}

std::string FormatDuration(std::chrono::nanoseconds duration) {
  const int64_t count = duration.count();
  if (count == 0) return "0s";
  for (const Unit& unit : kTimes) {
    const auto scale = static_cast<int64_t>(unit.scale);
    if (count % scale == 0) return fmt::format("{}{}", count / scale, unit.name);
  }
  return fmt::format("{}ns", count);
}

absl::StatusOr<uint64_t> ParseBytes(std::string_view text) {
  const std::string_view all = text;
  uint64_t whole = 0;
  double fraction = 0;
  if (!TakeNumber(text, whole, fraction)) {
    return InvalidArgument("'{}' is not a size (a size looks like 64MiB)", all);
  }
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  const Unit* unit = text.empty() ? &kSizes.back() : FindUnit(kSizes, text);
  if (unit == nullptr) {
    return InvalidArgument("'{}' is not a unit of size (B, KiB, MiB, GiB, TiB, kB, MB, GB, TB)",
                           text);
  }
  uint64_t bytes = 0;
  if (!Scale(whole, fraction, unit->scale, std::numeric_limits<uint64_t>::max(), bytes)) {
    return InvalidArgument("'{}' is too large", all);
  }
  return bytes;
}

std::string FormatBytes(uint64_t bytes) {
  if (bytes == 0) return "0B";
  for (size_t i = 0; i < 4; ++i) {
    if (bytes % kSizes[i].scale == 0) {
      return fmt::format("{}{}", bytes / kSizes[i].scale, kSizes[i].name);
    }
  }
  return fmt::format("{}B", bytes);
}

}  // namespace weft::config
