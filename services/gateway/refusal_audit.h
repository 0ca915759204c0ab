// Requests that were turned away at the door, in the audit: bounded, so that a flood of them cannot
// fill the disk.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <tuple>

#include "libs/base/clock.h"
#include "libs/identity/audit.h"
#include "libs/identity/principal.h"

namespace weft::gateway {

struct RefusalAuditOptions {
  std::chrono::seconds interval{60};
  uint32_t most = 100;  // parties of one interval with rows of their own; 0: nothing is written
};

// The first refusal of a party (address, key, reason) in an interval is a row at once; those that
// follow are one row with their number when the interval ends. Beyond `most` parties all others
// share one row. The rows have the action "access:refuse", and go to the chain of the tenant whose
// key it was, or to the gateway's own. Thread safe.
class RefusalAudit {
 public:
  RefusalAudit(identity::AuditSink& sink, RefusalAuditOptions options,
               Clock& clock = Clock::Real());
  ~RefusalAudit();  // writes what it has counted

  struct Refused {
    std::string_view reason;  // "bad_key", "no_key", "role", "throttled", "rate", "address"
    std::string_view address;
    const identity::Principal* principal = nullptr;  // nullptr: nobody that is known
    std::string_view method;                         // "GET"
    std::string_view target;                         // of which the path is kept, without its query
    std::string_view request_id;
  };
  void Note(const Refused& refused);
  void Tick();  // several times a minute

 private:
  struct Party {
    std::string address;
    std::string tenant;
    std::string key_id;
    std::string reason;
    auto operator<=>(const Party&) const = default;
  };
  struct Count {
    uint64_t more = 0;  // since the row of the first
    WallTime first{};
    WallTime last{};
  };
  void FlushLocked(WallTime now);
  void WriteLocked(const Party& party, const Count& count, WallTime now);

  identity::AuditSink& sink_;
  const RefusalAuditOptions options_;
  Clock& clock_;
  std::mutex mutex_;
  std::map<Party, Count> parties_;
  Count others_;
  SteadyTime interval_end_{};
};

}  // namespace weft::gateway
