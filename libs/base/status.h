// Errors cross every library boundary as absl::Status / absl::StatusOr<T>. These helpers build
// them with fmt formatting. A message names the field, key or file offset that is at fault, and
// says what was expected; it never holds a secret.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>

namespace weft {

// Debian's absl::string_view is not std::string_view: these two are the only bridge.
inline std::string_view StdView(absl::string_view s) { return {s.data(), s.size()}; }
inline absl::string_view AbslView(std::string_view s) { return {s.data(), s.size()}; }

absl::Status MakeStatus(absl::StatusCode code, std::string_view message);

// The same status with "context: " before its message. OK stays OK. Payloads are kept.
absl::Status Annotate(absl::Status status, std::string_view context);

// The message of a status as std::string_view.
std::string_view Message(const absl::Status& status);

// "INVALID_ARGUMENT: message", for logs.
std::string ToString(const absl::Status& status);

#define WEFT_DEFINE_STATUS(Name, Code)                                                 \
  template <typename... Args>                                                          \
  absl::Status Name(fmt::format_string<Args...> format, Args&&... args) {              \
    return ::weft::MakeStatus(Code, fmt::format(format, std::forward<Args>(args)...)); \
  }

WEFT_DEFINE_STATUS(InvalidArgument, absl::StatusCode::kInvalidArgument)
WEFT_DEFINE_STATUS(NotFound, absl::StatusCode::kNotFound)
WEFT_DEFINE_STATUS(AlreadyExists, absl::StatusCode::kAlreadyExists)
WEFT_DEFINE_STATUS(FailedPrecondition, absl::StatusCode::kFailedPrecondition)
WEFT_DEFINE_STATUS(OutOfRange, absl::StatusCode::kOutOfRange)
WEFT_DEFINE_STATUS(Unimplemented, absl::StatusCode::kUnimplemented)
WEFT_DEFINE_STATUS(Unavailable, absl::StatusCode::kUnavailable)
WEFT_DEFINE_STATUS(ResourceExhausted, absl::StatusCode::kResourceExhausted)
WEFT_DEFINE_STATUS(DeadlineExceeded, absl::StatusCode::kDeadlineExceeded)
WEFT_DEFINE_STATUS(Cancelled, absl::StatusCode::kCancelled)
WEFT_DEFINE_STATUS(Unauthenticated, absl::StatusCode::kUnauthenticated)
WEFT_DEFINE_STATUS(PermissionDenied, absl::StatusCode::kPermissionDenied)
WEFT_DEFINE_STATUS(Internal, absl::StatusCode::kInternal)
WEFT_DEFINE_STATUS(DataLoss, absl::StatusCode::kDataLoss)

#undef WEFT_DEFINE_STATUS

// Prints the failed condition with its place to stderr and aborts. For broken invariants only;
// input, network and peers get a Status.
[[noreturn]] void CheckFailed(const char* condition, const char* file, int line);

}  // namespace weft

#define WEFT_CHECK(condition) \
  ((condition) ? (void)0 : ::weft::CheckFailed(#condition, __FILE__, __LINE__))

#define WEFT_RETURN_IF_ERROR(expr)                                                     \
  do {                                                                                 \
    if (::absl::Status weft_status_ = (expr); !weft_status_.ok()) return weft_status_; \
  } while (false)

#define WEFT_CONCAT_INNER_(a, b) a##b
#define WEFT_CONCAT_(a, b) WEFT_CONCAT_INNER_(a, b)

// WEFT_ASSIGN_OR_RETURN(auto x, F()); assigns the value or returns the error.
// NOLINTBEGIN(bugprone-macro-parentheses): the arguments are declarations, not expressions.
#define WEFT_ASSIGN_OR_RETURN(lhs, expr) \
  WEFT_ASSIGN_OR_RETURN_IMPL_(WEFT_CONCAT_(weft_statusor_, __LINE__), lhs, expr)
#define WEFT_ASSIGN_OR_RETURN_IMPL_(statusor, lhs, expr)   \
  auto statusor = (expr);                                  \
  if (!statusor.ok()) return std::move(statusor).status(); \
  lhs = std::move(statusor).value()
// NOLINTEND(bugprone-macro-parentheses)
