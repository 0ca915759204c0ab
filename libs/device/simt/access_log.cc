#include "libs/device/simt/access_log.h"

#include <algorithm>
#include <cstring>

namespace weft::simt {
namespace {

constexpr uintptr_t kSectorBytes = 32;
constexpr uintptr_t kBankBytes = 4;
constexpr int kBanks = 32;

bool SameSite(const LoggedAccess& a, const LoggedAccess& b) {
  return a.site.line == b.site.line && a.instruction == b.instruction && a.bytes == b.bytes &&
         (a.site.file == b.site.file || (a.site.file != nullptr && b.site.file != nullptr &&
                                         std::strcmp(a.site.file, b.site.file) == 0));
}

template <typename T>
size_t CountDistinct(std::vector<T>& values) {
  std::sort(values.begin(), values.end());
  return static_cast<size_t>(std::unique(values.begin(), values.end()) - values.begin());
}

// Lanes that one pass over the banks can serve: all, half or a quarter of the warp.
int LanesAtOnce(int bytes) { return bytes <= 4 ? 32 : bytes <= 8 ? 16 : 8; }

}  // namespace

SiteCounts& SiteTable::At(Site site, Instruction instruction) {
  SiteCounts& counts = counts_[{site.line, site.file == nullptr ? "" : site.file, instruction}];
  counts.site = site;
  counts.instruction = instruction;
  return counts;
}

std::vector<SiteCounts> SiteTable::Take() {
  std::vector<SiteCounts> all;
  all.reserve(counts_.size());
  for (const auto& [key, counts] : counts_) all.push_back(counts);
  counts_.clear();
  return all;
}

void CountRequest(const LoggedAccess* const* accesses, int count, SiteTable& sites) {
  SiteCounts& counts = sites.At(accesses[0]->site, accesses[0]->instruction);
  ++counts.requests;
  static thread_local std::vector<uintptr_t> units;
  // Distinct bytes, in units that divide every access.
  uintptr_t unit = accesses[0]->bytes % 4 == 0 ? 4 : accesses[0]->bytes % 2 == 0 ? 2 : 1;
  for (int i = 0; i < count; ++i) {
    if (accesses[i]->unread % unit != 0) unit = 1;
  }
  units.clear();
  for (int i = 0; i < count; ++i) {
    const uintptr_t read = accesses[i]->bytes - accesses[i]->unread;
    for (uintptr_t b = 0; b < read; b += unit) {
      units.push_back((accesses[i]->address + b) / unit);
    }
  }
  const size_t distinct = CountDistinct(units) * unit;
  counts.bytes += distinct;
  if (!accesses[0]->shared) {
    units.clear();
    for (int i = 0; i < count; ++i) {
      if (accesses[i]->unread == accesses[i]->bytes) continue;
      const uintptr_t last = accesses[i]->address + accesses[i]->bytes - accesses[i]->unread - 1;
      for (uintptr_t s = accesses[i]->address / kSectorBytes; s <= last / kSectorBytes; ++s) {
        units.push_back(s);
      }
    }
    counts.sectors += CountDistinct(units);
    counts.least_sectors += (distinct + kSectorBytes - 1) / kSectorBytes;
    return;
  }
  const int at_once = LanesAtOnce(accesses[0]->bytes);
  for (int first = 0; first < count;) {
    units.clear();
    const int pass = accesses[first]->lane / at_once;
    for (int i = first; i < count && accesses[i]->lane / at_once == pass; first = ++i) {
      const uintptr_t last = accesses[i]->address + accesses[i]->bytes - 1;
      for (uintptr_t w = accesses[i]->address / kBankBytes; w <= last / kBankBytes; ++w) {
        units.push_back(w);
      }
    }
    const size_t words = CountDistinct(units);
    int per_bank[kBanks] = {};
    int most = 0;
    for (size_t w = 0; w < words; ++w) most = std::max(most, ++per_bank[units[w] % kBanks]);
    counts.wavefronts += static_cast<uint64_t>(most);
    ++counts.least_wavefronts;
  }
}

void AccessLog::Flush(SiteTable& sites, uint64_t* instructions) {
  size_t length = 0;
  for (const auto& lane : lanes_) length = std::max(length, lane.size());
  if (length == 0) return;
  bool aligned = true;
  const std::vector<LoggedAccess>* first = nullptr;
  for (const auto& lane : lanes_) {
    if (lane.empty()) continue;
    if (first == nullptr) {
      first = &lane;
    }
    aligned = aligned && lane.size() == length &&
              std::equal(lane.begin(), lane.end(), first->begin(), SameSite);
    if (!aligned) break;
  }
  if (aligned) {
    FlushAligned(length, sites, instructions);
  } else {
    FlushDiverged(sites, instructions);
  }
  for (auto& lane : lanes_) lane.clear();
}

void AccessLog::FlushAligned(size_t length, SiteTable& sites, uint64_t* instructions) {
  const LoggedAccess* request[32];
  for (size_t i = 0; i < length; ++i) {
    int count = 0;
    for (const auto& lane : lanes_) {
      if (!lane.empty()) request[count++] = &lane[i];
    }
    ++instructions[static_cast<int>(request[0]->instruction)];
    CountRequest(request, count, sites);
  }
}

void AccessLog::FlushDiverged(SiteTable& sites, uint64_t* instructions) {
  using Key = std::tuple<std::string_view, int, Instruction, uint16_t>;
  std::map<std::pair<Key, uint32_t>, std::vector<const LoggedAccess*>> requests;
  for (const auto& lane : lanes_) {
    std::map<Key, uint32_t> times;
    for (const LoggedAccess& a : lane) {
      const Key key{a.site.file == nullptr ? "" : a.site.file, a.site.line, a.instruction, a.bytes};
      requests[{key, times[key]++}].push_back(&a);
    }
  }
  for (const auto& [key, accesses] : requests) {
    ++instructions[static_cast<int>(accesses[0]->instruction)];
    CountRequest(accesses.data(), static_cast<int>(accesses.size()), sites);
  }
}

}  // namespace weft::simt
