#include "libs/store/database.h"

#include "libs/base/status.h"
#include "libs/store/postgres_connection.h"
#include "libs/store/postgres_database.h"
#include "libs/store/sqlite_database.h"

namespace weft::store {
namespace {

// RFC 3629: no overlong forms, no surrogates, nothing beyond U+10FFFF; and no NUL, which
// PostgreSQL's text cannot hold.
bool IsStorableText(std::string_view text) {
  size_t i = 0;
  const auto continuation = [&](size_t at, unsigned low = 0x80, unsigned high = 0xbf) {
    if (at >= text.size()) return false;
    const auto c = static_cast<unsigned char>(text[at]);
    return c >= low && c <= high;
  };
  while (i < text.size()) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c == 0) return false;
    if (c < 0x80) {
      i += 1;
    } else if (c >= 0xc2 && c <= 0xdf) {
      if (!continuation(i + 1)) return false;
      i += 2;
    } else if (c >= 0xe0 && c <= 0xef) {
      if (!continuation(i + 1, c == 0xe0 ? 0xa0 : 0x80, c == 0xed ? 0x9f : 0xbf) ||
          !continuation(i + 2)) {
        return false;
      }
      i += 3;
    } else if (c >= 0xf0 && c <= 0xf4) {
      if (!continuation(i + 1, c == 0xf0 ? 0x90 : 0x80, c == 0xf4 ? 0x8f : 0xbf) ||
          !continuation(i + 2) || !continuation(i + 3)) {
        return false;
      }
      i += 4;
    } else {
      return false;
    }
  }
  return true;
}

}  // namespace

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
