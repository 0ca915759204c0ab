// Counts what a warp's memory accesses cost. Lanes run one after the other, so each logs its
// accesses; when the warp comes together again, the n-th execution of a site by each lane becomes
// one request.
#pragma once

#include <cstdint>
#include <map>
#include <string_view>
#include <tuple>
#include <vector>

#include "libs/device/simt/report.h"

namespace weft::simt {

struct LoggedAccess {
  uintptr_t address;
  Site site;
  uint16_t bytes;
  Instruction instruction;
  bool shared;
  uint8_t unread = 0;  // of the bytes: those that a copy fills with zeros
  uint8_t lane = 0;    // AccessLog's
};

// Counts by (line, file, instruction).
class SiteTable {
 public:
  SiteCounts& At(Site site, Instruction instruction);
  std::vector<SiteCounts> Take();

 private:
  std::map<std::tuple<int, std::string_view, Instruction>, SiteCounts> counts_;
};

class AccessLog {
 public:
  void Add(uint32_t lane, const LoggedAccess& access) {
    lanes_[lane].push_back(access);
    lanes_[lane].back().lane = static_cast<uint8_t>(lane);
  }
  // Turns what was logged into requests.
  void Flush(SiteTable& sites, uint64_t* instructions);

 private:
  void FlushAligned(size_t length, SiteTable& sites, uint64_t* instructions);
  void FlushDiverged(SiteTable& sites, uint64_t* instructions);

  std::vector<LoggedAccess> lanes_[32];
};

// One request of a warp: up to 32 accesses at one site, lanes ascending.
void CountRequest(const LoggedAccess* const* accesses, int count, SiteTable& sites);

}  // namespace weft::simt
