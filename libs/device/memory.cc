#include "libs/device/memory.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <string_view>

namespace weft {
namespace {

std::string Read(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A file that is one number; nothing for "max" and all else.
std::optional<uint64_t> ReadNumber(const std::string& path) {
  const std::string text = Read(path);
  uint64_t value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || rest == text.data()) return std::nullopt;
  return value;
}

// The number in the line "<key> 123" or "<key>   123 kB".
std::optional<uint64_t> ReadField(const std::string& path, std::string_view key) {
  std::istringstream lines(Read(path));
  std::string line;
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::string name;
    uint64_t value = 0;
    if (words >> name >> value && name == key) return value;
  }
  return std::nullopt;
}

struct CgroupFiles {
  const char* limit;
  const char* usage;
  const char* inactive_file;  // fields of memory.stat
  const char* active_file;
};
constexpr CgroupFiles kVersion2 = {"memory.max", "memory.current", "inactive_file", "active_file"};
constexpr CgroupFiles kVersion1 = {"memory.limit_in_bytes", "memory.usage_in_bytes",
                                   "total_inactive_file", "total_active_file"};

// A group and its parents up to the mount: the tightest one counts.
void Tighten(const std::string& mount, std::string group, const CgroupFiles& files,
             AvailableMemory& out) {
  for (;;) {
    const std::string folder = mount + group + "/";
    const auto limit = ReadNumber(folder + files.limit);
    const auto usage = ReadNumber(folder + files.usage);
    if (limit && usage) {
      const std::string stat = folder + "memory.stat";
      const uint64_t cached = ReadField(stat, files.inactive_file).value_or(0) +
                              ReadField(stat, files.active_file).value_or(0);
      const uint64_t used = *usage - std::min(*usage, cached);
      const uint64_t left = *limit - std::min(*limit, used);
      if (left < out.bytes) out = {left, folder + files.limit};
    }
    const size_t slash = group.rfind('/');
    if (slash == std::string::npos) return;
    group.resize(slash);
  }
}

}  // namespace

AvailableMemory ReadAvailableMemory(const std::string& root) {
  AvailableMemory out;
  if (const auto kb = ReadField(root + "/proc/meminfo", "MemAvailable:")) {
    out = {*kb * 1024, "MemAvailable of /proc/meminfo"};
  }
  std::istringstream groups(Read(root + "/proc/self/cgroup"));
  std::string line;  // "0::/group" or "9:memory:/group"
  while (std::getline(groups, line)) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    std::string group = line.substr(second + 1);
    if (group == "/") group.clear();
    if (controllers == ",,") {
      Tighten(root + "/sys/fs/cgroup", group, kVersion2, out);
    } else if (controllers.find(",memory,") != std::string::npos) {
      Tighten(root + "/sys/fs/cgroup/memory", group, kVersion1, out);
    }
  }
  return out;
}

}  // namespace weft
