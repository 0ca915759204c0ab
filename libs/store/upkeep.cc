#include "libs/store/upkeep.h"

#include "libs/base/status.h"

namespace weft::store {

absl::StatusOr<bool> TakeTurn(Database& database, std::string_view task, WallTime now,
                              std::chrono::milliseconds interval) {
  const int64_t now_us = UnixNanos(now) / 1000;
  WEFT_ASSIGN_OR_RETURN(
      const Result taken,
      database.WriteOne(Scope::System(),
                        "INSERT INTO upkeep (task, next_at_us) VALUES ($1, $2) ON CONFLICT (task) "
                        "DO UPDATE SET next_at_us = excluded.next_at_us WHERE upkeep.next_at_us <= "
                        "$3",
                        {task, now_us + interval.count() * 1000, now_us}));
  return taken.changed == 1;
}

}  // namespace weft::store
