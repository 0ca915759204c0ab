#include "libs/store/database.h"

#include "libs/base/status.h"
#include "libs/store/postgres_connection.h"
#include "libs/store/postgres_database.h"
#include "libs/store/sqlite_database.h"
#include "libs/store/text.h"

namespace weft::store {
absl::StatusOr<Result> Session::Run(std::string_view sql, const Values& parameters) {
  for (const Value& value : parameters) {
    const auto* text = std::get_if<std::string>(&value.variant());
    if (text != nullptr && !IsStorableText(*text)) {
      return InvalidArgument("a text is not UTF-8, or holds a NUL character");
    }
  }
  return RunChecked(sql, parameters);
}

bool Database::IsPostgresUrl(std::string_view where) {
  return where.rfind("postgres://", 0) == 0 || where.rfind("postgresql://", 0) == 0;
}

std::string Database::ShownName(std::string_view where) {
  if (!IsPostgresUrl(where)) return std::string(where);
  const auto target = ParsePostgresUrl(std::string(where), {}, {});
  return target.ok() ? target->name : "postgresql://";
}

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const std::string& where,
                                                         DatabaseOptions options) {
  if (IsPostgresUrl(where)) return OpenPostgres(where, options);
  return OpenSqlite(where, options);
}

absl::StatusOr<Result> Database::WriteOne(const Scope& scope, std::string_view sql,
                                          const Values& values) {
  Result result;
  WEFT_RETURN_IF_ERROR(Write(scope, [&](Session& session) -> absl::Status {
    WEFT_ASSIGN_OR_RETURN(result, session.Run(sql, values));
    return absl::OkStatus();
  }));
  return result;
}

absl::StatusOr<Result> Database::ReadOne(const Scope& scope, std::string_view sql,
                                         const Values& values) {
  Result result;
  WEFT_RETURN_IF_ERROR(Read(scope, [&](Session& session) -> absl::Status {
    WEFT_ASSIGN_OR_RETURN(result, session.Run(sql, values));
    return absl::OkStatus();
  }));
  return result;
}

}  // namespace weft::store
