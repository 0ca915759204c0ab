#include "libs/store/postgres_connection.h"

#include <libpq-fe.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <type_traits>

#include "libs/base/ids.h"
#include "libs/base/status.h"

namespace weft::store {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// Of src/include/catalog/pg_type.dat; they never change.
enum TypeId : Oid {
  kBool = 16,
  kBytea = 17,
  kInt8 = 20,
  kInt2 = 21,
  kInt4 = 23,
  kText = 25,
  kFloat4 = 700,
  kFloat8 = 701,
};

std::string Trimmed(const char* text) {
  std::string_view view(text != nullptr ? text : "");
  while (!view.empty() && (view.back() == '\n' || view.back() == ' ')) view.remove_suffix(1);
  std::string out;
  for (const char c : view) out.push_back(c == '\n' ? ' ' : c);
  return out;
}

// Appendix A of PostgreSQL's manual: the class is the first two characters. `text` is the server's
// primary message; details, which quote values, are left out.
absl::Status FromSqlState(std::string_view state, const std::string& text,
                          const std::string& name) {
  const std::string_view group = state.substr(0, 2);
  if (state == "23505") return AlreadyExists("database {}: {}", name, text);
  if (state == "23503") return FailedPrecondition("database {}: {}", name, text);
  if (state == "42501") return PermissionDenied("database {}: {}", name, text);
  if (state == "40001" || state == "40P01") {
    return MakeStatus(absl::StatusCode::kAborted, fmt::format("database {}: {}", name, text));
  }
  // Read-only: a server that has just become a standby; the next connection finds another.
  if (state == "57014" || state == "57P01" || state == "57P02" || state == "57P03" ||
      state == "25006" || group == "08" || group == "55") {
    return Unavailable("database {}: {}", name, text);
  }
  if (group == "22") return InvalidArgument("database {}: {}", name, text);
  if (group == "28" || state == "3D000") return FailedPrecondition("database {}: {}", name, text);
  if (group == "53") return ResourceExhausted("database {}: {}", name, text);
  if (group == "XX" || group == "58") return DataLoss("database {}: {}", name, text);
  return Internal("database {}: {} ({})", name, text, state);
}

bool IsThisMachine(std::string_view host) {
  return host.empty() || host.front() == '/' || host.front() == '@' || host == "localhost" ||
         host == "127.0.0.1" || host == "::1";
}

int64_t ParseInt(std::string_view text) {
  int64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

Value ParseColumn(const PGresult* result, int row, int column) {
  if (PQgetisnull(result, row, column) != 0) return {};
  const std::string_view text(PQgetvalue(result, row, column),
                              static_cast<size_t>(PQgetlength(result, row, column)));
  switch (PQftype(result, column)) {
    case kInt2:
    case kInt4:
    case kInt8:
      return {ParseInt(text)};
    case kBool:
      return {text == "t"};
    case kFloat4:
    case kFloat8:
      return {std::strtod(std::string(text).c_str(), nullptr)};
    case kBytea: {
      // "\x" and hexadecimal digits; bytea_output = escape is a session's setting that no
      // connection here makes.
      if (text.size() < 2) return Value::Blob({});
      std::string bytes((text.size() - 2) / 2, '\0');
      ParseHex(text.substr(2), {reinterpret_cast<uint8_t*>(bytes.data()), bytes.size()});
      return Value::Blob(std::move(bytes));
    }
    default:
      return {text};
  }
}

// Waits until the socket may be read (or written); false when the time is over.
bool Wait(PGconn* connection, bool write, steady_clock::time_point until) {
  while (true) {
    const auto left = std::chrono::duration_cast<milliseconds>(until - steady_clock::now()).count();
    pollfd fd{PQsocket(connection), static_cast<short>(write ? POLLIN | POLLOUT : POLLIN), 0};
    const int ready = poll(&fd, 1, left < 0 ? 0 : static_cast<int>(left) + 1);
    if (ready > 0) return true;
    if (ready < 0 && errno == EINTR) continue;
    return false;
  }
}

}  // namespace

absl::StatusOr<PostgresTarget> ParsePostgresUrl(const std::string& url, milliseconds connect,
                                                milliseconds statement) {
  char* error = nullptr;
  PQconninfoOption* options = PQconninfoParse(url.c_str(), &error);
  if (options == nullptr) {
    PQfreemem(error);  // it may quote the password
    return InvalidArgument("not a PostgreSQL URL (postgresql://user:password@host:port/database)");
  }
  PostgresTarget target;
  const auto set = [&](const std::string& key, std::string value) {
    for (const auto& [name, old] : target.keywords) {
      if (name == key) return;  // the URL decides
    }
    target.keywords.emplace_back(key, std::move(value));
  };
  std::string host, port, database;
  for (const PQconninfoOption* option = options; option->keyword != nullptr; ++option) {
    if (option->val == nullptr) continue;
    const std::string key = option->keyword;
    target.keywords.emplace_back(key, option->val);
    if (key == "host") host = option->val;
    if (key == "port") port = option->val;
    if (key == "dbname") database = option->val;
  }
  PQconninfoFree(options);
  const bool has_mode = std::any_of(target.keywords.begin(), target.keywords.end(),
                                    [](const auto& k) { return k.first == "sslmode"; });
  if (!has_mode && !IsThisMachine(host)) set("sslmode", "require");
  set("application_name", "weft");
  set("client_encoding", "UTF8");
  set("connect_timeout", std::to_string(std::max<int64_t>(2, connect.count() / 1000)));
  set("keepalives_idle", "30");
  // A host that vanished is noticed although nothing answers.
  set("tcp_user_timeout", std::to_string(statement.count()));
  // After a failover the old primary is a standby: it is not what is looked for.
  set("target_session_attrs", "read-write");
  target.name =
      fmt::format("postgresql://{}{}{}/{}", host, port.empty() ? "" : ":", port, database);
  return target;
}

absl::StatusOr<std::unique_ptr<PostgresConnection>> PostgresConnection::Connect(
    const PostgresTarget& target, milliseconds connect) {
  std::vector<const char*> keys;
  std::vector<const char*> values;
  for (const auto& [key, value] : target.keywords) {
    keys.push_back(key.c_str());
    values.push_back(value.c_str());
  }
  keys.push_back(nullptr);
  values.push_back(nullptr);
  PGconn* raw = PQconnectStartParams(keys.data(), values.data(), 0);
  if (raw == nullptr) return ResourceExhausted("database {}: out of memory", target.name);
  std::unique_ptr<PostgresConnection> made(new PostgresConnection(raw, target.name));
  const auto until = steady_clock::now() + connect;
  PostgresPollingStatusType step = PGRES_POLLING_WRITING;
  while (PQstatus(raw) != CONNECTION_BAD && step != PGRES_POLLING_OK) {
    if (step == PGRES_POLLING_FAILED) break;
    if (!Wait(raw, step == PGRES_POLLING_WRITING, until)) {
      return Unavailable("database {}: no connection within {} ms", target.name, connect.count());
    }
    step = PQconnectPoll(raw);
  }
  if (PQstatus(raw) != CONNECTION_OK) {
    return Unavailable("database {}: {}", target.name, Trimmed(PQerrorMessage(raw)));
  }
  PQsetnonblocking(raw, 1);
  // Notices would go to stderr, past the log.
  PQsetNoticeProcessor(
      raw, [](void*, const char*) {}, nullptr);
  return absl::StatusOr<std::unique_ptr<PostgresConnection>>(std::move(made));
}

PostgresConnection::~PostgresConnection() { PQfinish(connection_); }

bool PostgresConnection::usable() const {
  return !broken_ && PQstatus(connection_) == CONNECTION_OK;
}
bool PostgresConnection::idle() const {
  return usable() && PQtransactionStatus(connection_) == PQTRANS_IDLE;
}

bool PostgresConnection::failed() const {
  return PQtransactionStatus(connection_) == PQTRANS_INERROR;
}

absl::Status PostgresConnection::Lost() const {
  return Unavailable("database {}: the connection was lost ({})", name_,
                     Trimmed(PQerrorMessage(connection_)));
}

absl::StatusOr<Result> PostgresConnection::Run(std::string_view sql, const Values& parameters,
                                               milliseconds limit) {
  std::vector<Oid> types;
  std::vector<std::string> texts(parameters.size());
  std::vector<const char*> values;
  std::vector<int> lengths;
  std::vector<int> formats;
  for (size_t i = 0; i < parameters.size(); ++i) {
    std::visit(
        [&](const auto& v) {
          using T = std::decay_t<decltype(v)>;
          const auto add = [&](Oid type, const char* data, size_t size, int format) {
            types.push_back(type);
            values.push_back(data);
            lengths.push_back(static_cast<int>(size));
            formats.push_back(format);
          };
          if constexpr (std::is_same_v<T, int64_t>) {
            texts[i] = std::to_string(v);
            add(kInt8, texts[i].c_str(), texts[i].size(), 0);
          } else if constexpr (std::is_same_v<T, double>) {
            texts[i] = fmt::format("{}", v);  // the shortest text that reads back as the same
            add(kFloat8, texts[i].c_str(), texts[i].size(), 0);
          } else if constexpr (std::is_same_v<T, std::string>) {
            add(kText, v.c_str(), v.size(), 0);
          } else if constexpr (std::is_same_v<T, Value::Bytes>) {
            add(kBytea, v.bytes.data(), v.bytes.size(), 1);
          } else {
            add(0, nullptr, 0, 0);
          }
        },
        parameters[i].variant());
  }
  if (PQsendQueryParams(connection_, std::string(sql).c_str(), static_cast<int>(parameters.size()),
                        types.data(), values.data(), lengths.data(), formats.data(), 0) != 1) {
    broken_ = true;
    return Lost();
  }
  return Answer(limit);
}

absl::Status PostgresConnection::Execute(const std::string& script, milliseconds limit) {
  if (PQsendQuery(connection_, script.c_str()) != 1) {
    broken_ = true;
    return Lost();
  }
  return Answer(limit).status();
}

absl::StatusOr<Result> PostgresConnection::Answer(milliseconds limit) {
  const auto until = steady_clock::now() + limit;
  const auto lost = [&] {
    broken_ = true;
    return Lost();
  };
  while (true) {
    const int flushed = PQflush(connection_);
    if (flushed < 0) return lost();
    if (flushed == 0) break;
    if (!Wait(connection_, true, until)) {
      broken_ = true;
      return Unavailable("database {}: a statement was not taken within {} ms", name_,
                         limit.count());
    }
    if (PQconsumeInput(connection_) != 1) return lost();
  }
  Result out;
  absl::Status status;
  while (true) {
    while (PQisBusy(connection_) != 0) {
      if (!Wait(connection_, false, until)) {
        broken_ = true;
        return Unavailable("database {}: a statement was not answered within {} ms", name_,
                           limit.count());
      }
      if (PQconsumeInput(connection_) != 1) return lost();
    }
    PGresult* result = PQgetResult(connection_);
    if (result == nullptr) break;
    const ExecStatusType kind = PQresultStatus(result);
    if (kind == PGRES_TUPLES_OK || kind == PGRES_COMMAND_OK) {
      const int rows = PQntuples(result);
      const int columns = PQnfields(result);
      out.rows.reserve(static_cast<size_t>(rows));
      for (int row = 0; row < rows; ++row) {
        Values values;
        values.reserve(static_cast<size_t>(columns));
        for (int column = 0; column < columns; ++column) {
          values.push_back(ParseColumn(result, row, column));
        }
        out.rows.emplace_back(std::move(values));
      }
      const std::string_view command(PQcmdStatus(result));
      out.changed = command.rfind("SELECT", 0) == 0 ? 0 : ParseInt(PQcmdTuples(result));
    } else if (status.ok()) {
      const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
      if (state == nullptr) {
        status = lost();
      } else {
        status = FromSqlState(state, Trimmed(PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY)),
                              name_);
        // The server says that it ends, or that it is no primary any more.
        if (status.code() == absl::StatusCode::kUnavailable) broken_ = true;
      }
    }
    PQclear(result);
  }
  if (!status.ok()) return status;
  return out;
}

}  // namespace weft::store
