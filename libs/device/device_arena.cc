#include "libs/device/device_arena.h"

#include <algorithm>

#include "libs/base/status.h"

namespace weft {
namespace {

// Of one arena, so that sums of parts cannot overflow.
constexpr uint64_t kMostBytes = uint64_t{1} << 48;
// Named in an error.
constexpr size_t kPartsNamed = 3;

}  // namespace

DeviceArena::Slice DeviceArena::Plan(std::string_view name, uint64_t bytes) {
  WEFT_CHECK(!committed());
  bytes = std::min(bytes, kMostBytes);
  const Slice slice{used_, bytes};
  used_ = std::min(kMostBytes, used_ + (bytes + kAlignment - 1) / kAlignment * kAlignment);
  parts_.push_back({std::string(name), bytes});
  return slice;
}

absl::Status DeviceArena::Commit(uint64_t reserve) {
  if (committed()) return FailedPrecondition("the arena is committed already");
  WEFT_ASSIGN_OR_RETURN(const uint64_t free, device_.FreeBytes());
  if (free < reserve || free - reserve < bytes()) {
    std::vector<Part> largest = parts_;
    std::stable_sort(largest.begin(), largest.end(),
                     [](const Part& a, const Part& b) { return a.bytes > b.bytes; });
    if (largest.size() > kPartsNamed) largest.resize(kPartsNamed);
    std::string named;
    for (const Part& part : largest) {
      named += fmt::format("{}{}: {}", named.empty() ? "" : ", ", part.name, part.bytes);
    }
    return ResourceExhausted(
        "{} bytes are planned on {}, of which {} are free and {} are to stay free; the largest "
        "parts are {}",
        bytes(), device_.info().name, free, reserve, named);
  }
  WEFT_ASSIGN_OR_RETURN(memory_, MakeDeviceBuffer(device_, bytes()));
  return absl::OkStatus();
}

}  // namespace weft
