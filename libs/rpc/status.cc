#include "libs/rpc/status.h"

#include <algorithm>
#include <chrono>
#include <string>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "weft/rpc/v1/error_details.pb.h"

namespace weft::rpc {
namespace {

constexpr char kBadRequest[] = "type.googleapis.com/google.rpc.BadRequest";
constexpr char kRetryInfo[] = "type.googleapis.com/google.rpc.RetryInfo";
// gRPC's default limit for all metadata of a call is 8 KiB; a longer trailer loses the status.
constexpr size_t kMaxMessage = 2048;
constexpr size_t kMaxField = 256;

void AddDetail(v1::StatusDetails& details, const char* url,
               const google::protobuf::MessageLite& message) {
  google::protobuf::Any* any = details.add_details();
  any->set_type_url(url);
  message.SerializeToString(any->mutable_value());
}

// Cuts without splitting a UTF-8 character: protobuf refuses strings with half of one.
std::string Cut(std::string_view text, size_t limit) {
  if (text.size() <= limit) return std::string(text);
  size_t end = limit;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return std::string(text.substr(0, end));
}

absl::Status WithDetails(absl::Status status, const std::string& encoded) {
  v1::StatusDetails details;
  if (!details.ParseFromString(encoded)) return status;
  for (const google::protobuf::Any& any : details.details()) {
    if (any.type_url() == kBadRequest) {
      v1::BadRequest bad;
      if (bad.ParseFromString(any.value()) && bad.field_violations_size() > 0) {
        status = WithField(std::move(status), bad.field_violations(0).field());
      }
    } else if (any.type_url() == kRetryInfo) {
      v1::RetryInfo retry;
      if (!retry.ParseFromString(any.value())) continue;
      // A peer's number: keep it within a day.
      const int64_t seconds = std::clamp<int64_t>(retry.retry_delay().seconds(), 0, 86'400);
      const int64_t nanos = std::clamp(retry.retry_delay().nanos(), 0, 999'999'999);
      status = WithRetryAfter(std::move(status),
                              std::chrono::milliseconds(seconds * 1000 + nanos / 1'000'000));
    }
  }
  return status;
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const auto code = static_cast<grpc::StatusCode>(static_cast<int>(status.code()));
  const std::string message = Cut(Message(status), kMaxMessage);
  const std::string field = FieldOf(status);
  const auto retry_after = RetryAfterOf(status);
  if (field.empty() && !retry_after) return {code, message};

  v1::StatusDetails details;
  details.set_code(static_cast<int>(code));
  details.set_message(message);
  if (!field.empty()) {
    v1::BadRequest bad;
    auto* violation = bad.add_field_violations();
    violation->set_field(Cut(field, kMaxField));
    violation->set_description(message);
    AddDetail(details, kBadRequest, bad);
  }
  if (retry_after) {
    v1::RetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(retry_after->count() / 1000);
    retry.mutable_retry_delay()->set_nanos(
        static_cast<int32_t>(retry_after->count() % 1000 * 1'000'000));
    AddDetail(details, kRetryInfo, retry);
  }
  return {code, message, details.SerializeAsString()};
}

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  absl::Status out = MakeStatus(
      static_cast<absl::StatusCode>(static_cast<int>(status.error_code())), status.error_message());
  if (status.error_details().empty()) return out;
  return WithDetails(std::move(out), status.error_details());
}

}  // namespace weft::rpc
