// What the routes of administration have in common: the threads that wait for the database, numbers
// of the query, bodies and answers.
#pragma once

#include <absl/status/statusor.h>

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "services/gateway/api.h"
#include "services/gateway/call.h"

namespace weft::gateway {

// Long work reads or writes all that is stored of somebody: exports, verification, rotation,
// erasure, pruning. It has threads of its own, so that it holds up only its like.
enum class Work : uint8_t { kShort, kLong };

// False: too many wait already, and `work` is not run.
bool Submit(const ApiDeps& deps, Work kind, std::function<void()> work);
absl::Status TooManyAdministrativeRequests();
// The database is waited for: not on an I/O thread.
void Blocking(const ApiDeps& deps, const Call& call, Work kind, std::function<void()> work);

// "" where it is missing.
std::string Query(const Call& call, std::string_view name);
// A number of the query; INVALID_ARGUMENT names it.
absl::StatusOr<int64_t> QueryNumber(const Call& call, std::string_view name, int64_t fallback,
                                    int64_t min, int64_t max);

// Bytes that are not UTF-8 are replaced.
std::string Dump(const nlohmann::ordered_json& body);
void Answer(const Call& call, int status, const absl::StatusOr<nlohmann::ordered_json>& body);
// Reads the body here and does the rest on the database's threads.
using BodyWork = std::function<absl::StatusOr<nlohmann::ordered_json>(nlohmann::json body)>;
void WithBody(const ApiDeps& deps, const Call& call, Work kind, int status, BodyWork work);

}  // namespace weft::gateway
