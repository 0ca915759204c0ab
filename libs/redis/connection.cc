#include "libs/redis/connection.h"

#include <hiredis/hiredis.h>

#include <array>
#include <string>
#include <utility>

#include "libs/base/status.h"

namespace weft::redis {
namespace {

constexpr size_t kReadBytes = 16 << 10;

void Append(std::string& out, Command command) {
  fmt::format_to(std::back_inserter(out), "*{}\r\n", command.size());
  for (const std::string_view word : command) {
    fmt::format_to(std::back_inserter(out), "${}\r\n", word.size());
    out.append(word).append("\r\n");
  }
}

Reply FromHiredis(const redisReply& in) {
  Reply out;
  switch (in.type) {
    case REDIS_REPLY_INTEGER:
      out.kind = Reply::Kind::kInteger;
      out.integer = in.integer;
      break;
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
    case REDIS_REPLY_ERROR:
      out.kind = in.type == REDIS_REPLY_STRING   ? Reply::Kind::kString
                 : in.type == REDIS_REPLY_STATUS ? Reply::Kind::kStatus
                                                 : Reply::Kind::kError;
      out.text.assign(in.str, static_cast<size_t>(in.len));
      break;
    case REDIS_REPLY_ARRAY:
      out.kind = Reply::Kind::kArray;
      out.items.reserve(in.elements);
      for (size_t i = 0; i < in.elements; ++i) out.items.push_back(FromHiredis(*in.element[i]));
      break;
    default:
      break;  // nil
  }
  return out;
}

}  // namespace

Connection::Connection(std::unique_ptr<Transport> transport, size_t max_reply_bytes)
    : transport_(std::move(transport)),
      max_reply_bytes_(max_reply_bytes),
      reader_(redisReaderCreate(), &redisReaderFree) {
  WEFT_CHECK(reader_ != nullptr);
}

Connection::~Connection() = default;

absl::StatusOr<std::unique_ptr<Connection>> Connection::Open(const Options& options,
                                                             const std::shared_ptr<SSL_CTX>& tls,
                                                             SteadyTime deadline) {
  WEFT_ASSIGN_OR_RETURN(auto transport, Transport::Connect(options, tls, deadline));
  std::unique_ptr<Connection> out(new Connection(std::move(transport), options.max_reply_bytes));
  const Endpoint& endpoint = options.endpoint;
  std::vector<std::string_view> auth = {"AUTH"};
  if (!endpoint.username.empty()) auth.push_back(endpoint.username);
  auth.push_back(endpoint.password);
  const std::string database = std::to_string(endpoint.database);
  const std::array<std::string_view, 2> select = {"SELECT", database};
  std::vector<Command> hello;
  if (!endpoint.password.empty()) hello.emplace_back(auth);
  if (endpoint.database != 0) hello.emplace_back(select);
  if (hello.empty()) return out;
  WEFT_ASSIGN_OR_RETURN(const std::vector<Reply> replies, out->Run(hello, deadline));
  for (const Reply& reply : replies) WEFT_RETURN_IF_ERROR(ErrorOf(reply));
  return out;
}

absl::Status Connection::Send(std::span<const Command> commands, SteadyTime deadline) {
  std::string bytes;
  for (const Command command : commands) Append(bytes, command);
  return transport_->Write(bytes, deadline);
}

absl::StatusOr<Reply> Connection::Receive(SteadyTime deadline) {
  std::array<char, kReadBytes> buffer;
  size_t read = 0;
  while (true) {
    void* raw = nullptr;
    if (redisReaderGetReply(reader_.get(), &raw) != REDIS_OK) {
      return Unavailable("the answer is not Redis' protocol: {}", reader_->errstr);
    }
    if (raw != nullptr) {
      const std::unique_ptr<void, void (*)(void*)> owner(raw, &freeReplyObject);
      return FromHiredis(*static_cast<const redisReply*>(raw));
    }
    if (read > max_reply_bytes_) {
      return ResourceExhausted("an answer has more than {} bytes", max_reply_bytes_);
    }
    WEFT_ASSIGN_OR_RETURN(const size_t got, transport_->Read(buffer, deadline));
    read += got;
    if (redisReaderFeed(reader_.get(), buffer.data(), got) != REDIS_OK) {
      return Unavailable("the answer could not be kept: {}", reader_->errstr);
    }
  }
}

absl::StatusOr<std::vector<Reply>> Connection::Run(std::span<const Command> commands,
                                                   SteadyTime deadline) {
  WEFT_RETURN_IF_ERROR(Send(commands, deadline));
  std::vector<Reply> replies;
  replies.reserve(commands.size());
  for (size_t i = 0; i < commands.size(); ++i) {
    WEFT_ASSIGN_OR_RETURN(Reply reply, Receive(deadline));
    replies.push_back(std::move(reply));
  }
  return replies;
}

absl::StatusOr<Reply> Connection::Run(Command command, SteadyTime deadline) {
  WEFT_ASSIGN_OR_RETURN(std::vector<Reply> replies, Run({&command, 1}, deadline));
  return std::move(replies.front());
}

bool Connection::Stale() const { return transport_->Stale(); }

}  // namespace weft::redis
