#include "libs/store/changes.h"

#include "libs/base/status.h"

namespace weft::store {
namespace {

std::string_view Name(Topic topic) {
  switch (topic) {
    case Topic::kKeys:
      return "keys";
    case Topic::kIdentity:
      return "identity";
    case Topic::kSettings:
      return "settings";
    case Topic::kQuotas:
      return "quotas";
  }
  return "";
}

}  // namespace

absl::Status NoteChange(Session& session, Topic topic) {
  return session.Run("UPDATE store_changes SET number = number + 1 WHERE topic = $1", {Name(topic)})
      .status();
}

absl::StatusOr<int64_t> ChangeNumber(Database& database, Topic topic) {
  WEFT_ASSIGN_OR_RETURN(
      const Result row,
      database.ReadOne(Scope::System(), "SELECT number FROM store_changes WHERE topic = $1",
                       {Name(topic)}));
  if (row.rows.empty()) return DataLoss("store_changes has no row '{}'", Name(topic));
  return row.rows[0].Int(0);
}

}  // namespace weft::store
