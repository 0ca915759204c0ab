#include "services/gateway/scanner_client.h"

#include <grpcpp/channel.h>

#include <algorithm>
#include <limits>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "libs/base/status.h"
#include "libs/rpc/session_dialer.h"
#include "libs/rpc/status.h"
#include "services/gateway/unary_calls.h"
#include "weft/v1/scanner.grpc.pb.h"

namespace weft::gateway {
namespace {

// Frames that the scanner has not answered yet. More text gathers meanwhile and leaves as one
// frame: the cost is per round trip, not per stream and token.
constexpr int kMaxFramesInFlight = 2;

using Dialer = rpc::SessionDialer<v1::ScanVerdictFrame, v1::ScanFrame>;
using SessionPtr = std::shared_ptr<rpc::Session<v1::ScanFrame>>;

v1::TextKind ToProto(scan::TextKind kind) {
  switch (kind) {
    case scan::TextKind::kPrompt:
      return v1::TEXT_KIND_PROMPT;
    case scan::TextKind::kOutput:
      return v1::TEXT_KIND_OUTPUT;
    case scan::TextKind::kCode:
      return v1::TEXT_KIND_CODE;
  }
  return v1::TEXT_KIND_UNSPECIFIED;
}

scan::Finding FromProto(const v1::Finding& in) {
  scan::Finding out;
  out.rule = in.rule();
  out.type = in.type();
  scan::Parse(in.category(), out.category);
  const int severity = std::max(0, static_cast<int>(in.severity()) - 1);
  out.severity = static_cast<scan::Severity>(std::min(severity, 4));
  out.message = in.message();
  out.match = in.match();
  out.line = in.line();
  out.begin = in.begin();
  out.end = in.end();
  return out;
}

// Stands for the findings beyond the scanner's limit: everything from `begin` on is judged as a
// secret, since what is in it was not told.
scan::Finding Untold(uint64_t begin, uint32_t line) {
  scan::Finding out;
  out.rule = "weft.too-many-findings";
  out.type = "too_many_findings";
  out.category = scan::Category::kSecret;
  out.severity = scan::Severity::kCritical;
  out.message = "more findings than the scanner reports for one text";
  out.match = "(the rest of the text)";
  out.line = line;
  out.begin = begin;
  out.end = std::numeric_limits<uint64_t>::max();
  return out;
}

std::function<void(grpc::ClientContext&)> Traced(const ScanSubject& subject) {
  return [traceparent = subject.traceparent, request_id = subject.request_id](
             grpc::ClientContext& context) { rpc::AddTrace(context, traceparent, request_id); };
}

// A scanner that hangs costs each prompt the whole timeout: after this it costs one prompt a
// second.
constexpr rpc::BreakerOptions kBreaker{.failures_to_open = 5, .open_for = std::chrono::seconds(1)};

class Client final : public ScannerClient {
 public:
  Client(std::shared_ptr<grpc::Channel> channel, std::chrono::milliseconds timeout)
      : timeout_(timeout), stub_(v1::ScannerService::NewStub(channel)) {
    Dialer::Options dial;
    dial.start_call = [this](grpc::ClientContext* context, auto* reactor) {
      stub_->async()->ScanStream(context, reactor);
    };
    dial.make_handler = [this] { return std::make_shared<Handler>(*this); };
    dial.backoff.initial = std::chrono::milliseconds(100);
    dial.backoff.maximum = std::chrono::seconds(2);
    dialer_ = std::make_unique<Dialer>(std::move(dial));
  }
  void Start() { dialer_->Start(); }
  ~Client() override {
    dialer_->Stop();
    calls_.Stop();
  }

  void ScanText(const ScanSubject& subject, std::string text,
                std::function<void(absl::StatusOr<std::vector<scan::Finding>>)> done) override {
    v1::ScanTextRequest request;
    request.set_kind(ToProto(subject.kind));
    request.set_text(std::move(text));
    request.set_language(subject.language);
    request.set_request_id(subject.request_id);
    request.set_traceparent(subject.traceparent);
    calls_.Start<v1::ScanTextRequest, v1::ScanTextResponse>(
        std::move(request), timeout_,
        [this](auto* context, const auto* in, auto* out, auto callback) {
          stub_->async()->ScanText(context, in, out, std::move(callback));
        },
        [done = std::move(done)](absl::StatusOr<v1::ScanTextResponse> response) {
          if (!response.ok()) return done(response.status());
          std::vector<scan::Finding> findings;
          for (const v1::Finding& finding : response->findings())
            findings.push_back(FromProto(finding));
          if (response->truncated()) {
            const bool none = findings.empty();
            findings.push_back(
                Untold(none ? 0 : findings.back().begin, none ? 1 : findings.back().line));
          }
          done(std::move(findings));
        },
        Traced(subject));
  }

  void Sanitize(const ScanSubject& subject, std::vector<std::string> parts,
                std::vector<std::string> keep_rules,
                std::function<void(absl::StatusOr<std::vector<std::string>>)> done) override {
    v1::SanitizePromptRequest request;
    const auto count = static_cast<int>(parts.size());
    for (std::string& part : parts) request.add_parts(std::move(part));
    for (std::string& rule : keep_rules) request.add_keep_rules(std::move(rule));
    request.set_request_id(subject.request_id);
    request.set_traceparent(subject.traceparent);
    calls_.Start<v1::SanitizePromptRequest, v1::SanitizePromptResponse>(
        std::move(request), timeout_,
        [this](auto* context, const auto* in, auto* out, auto callback) {
          stub_->async()->SanitizePrompt(context, in, out, std::move(callback));
        },
        [done = std::move(done), count](absl::StatusOr<v1::SanitizePromptResponse> response) {
          if (!response.ok()) return done(response.status());
          if (response->parts_size() != count) {
            return done(
                Internal("the scanner cleaned {} of {} parts", response->parts_size(), count));
          }
          done(std::vector<std::string>(response->parts().begin(), response->parts().end()));
        },
        Traced(subject));
  }

  Stream Open(const ScanSubject& subject, std::shared_ptr<ScanSink> sink) override {
    std::lock_guard lock(mutex_);
    if (!session_) return 0;
    const Stream stream = ++last_stream_;
    streams_[stream].sink = std::move(sink);
    v1::ScanOpen& open = *pending_.add_opens();
    open.set_handle(stream);
    open.set_kind(ToProto(subject.kind));
    open.set_language(subject.language);
    open.set_request_id(subject.request_id);
    open.set_traceparent(subject.traceparent);
    has_pending_ = true;  // leaves with the first text
    return stream;
  }

  void Append(Stream stream, std::string_view text) override {
    std::lock_guard lock(mutex_);
    if (!streams_.contains(stream) || text.empty()) return;
    pending_.add_handles(stream);
    pending_.add_lengths(static_cast<uint32_t>(text.size()));
    pending_.mutable_text()->append(text);
    has_pending_ = true;
    FlushLocked();
  }

  void Close(Stream stream) override {
    std::lock_guard lock(mutex_);
    if (!streams_.contains(stream)) return;
    pending_.add_closes(stream);
    has_pending_ = true;
    FlushLocked();
  }

  void Drop(Stream stream) override {
    std::lock_guard lock(mutex_);
    if (streams_.erase(stream) == 0) return;
    pending_.add_drops(stream);
    has_pending_ = true;
    FlushLocked();
  }

  bool connected() const override {
    std::lock_guard lock(mutex_);
    return session_ != nullptr;
  }

 private:
  struct Watched {
    std::shared_ptr<ScanSink> sink;
    uint64_t clear = 0;  // as the last verdict said
    bool truncated = false;
  };
  class Handler final : public rpc::SessionHandler<v1::ScanVerdictFrame, v1::ScanFrame> {
   public:
    explicit Handler(Client& client) : client_(client) {}
    void OnOpen(SessionPtr session) override { client_.OnOpen(std::move(session)); }
    void OnFrame(v1::ScanVerdictFrame& frame) override { client_.OnFrame(frame); }
    void OnClosed(const absl::Status& status) override { client_.OnClosed(status); }

   private:
    Client& client_;
  };

  void OnOpen(SessionPtr session) {
    std::lock_guard lock(mutex_);
    // The scanner answers every frame: an empty one finds out whether it is there.
    candidate_ = std::move(session);
    in_flight_ = 1;
    candidate_->Send({});
  }

  void FlushLocked() {
    if (!has_pending_ || !session_ || in_flight_ >= kMaxFramesInFlight) return;
    ++in_flight_;
    has_pending_ = false;
    session_->Send(std::exchange(pending_, {}));
  }

  void OnFrame(v1::ScanVerdictFrame& frame) {
    struct Call {
      std::shared_ptr<ScanSink> sink;
      Watched* watched = nullptr;
      uint64_t clear = 0;
      std::vector<scan::Finding> findings;
      bool closed = false;
      absl::Status error;
    };
    std::unordered_map<Stream, Call> calls;
    {
      std::lock_guard lock(mutex_);
      session_ = candidate_;
      --in_flight_;
      const auto call = [&](Stream stream) -> Call* {
        const auto it = streams_.find(stream);
        if (it == streams_.end()) return nullptr;
        Call& c = calls[stream];
        c.sink = it->second.sink;
        c.watched = &it->second;
        return &c;
      };
      for (int i = 0; i < frame.handles_size() && i < frame.clear_through_size(); ++i) {
        if (Call* c = call(frame.handles(i))) c->clear = frame.clear_through(i);
      }
      for (const v1::StreamFindings& entry : frame.findings()) {
        if (Call* c = call(entry.handle())) {
          for (const v1::Finding& finding : entry.findings())
            c->findings.push_back(FromProto(finding));
          if (entry.truncated() && !std::exchange(c->watched->truncated, true)) {
            // From where the text was not cleared yet: no more of it has been shown.
            c->findings.push_back(
                Untold(c->watched->clear, c->findings.empty() ? 1 : c->findings.back().line));
          }
        }
      }
      for (auto& [stream, c] : calls) c.watched->clear = std::max(c.watched->clear, c.clear);
      for (const v1::ScanHandleError& error : frame.errors()) {
        if (Call* c = call(error.handle())) {
          c->error = MakeStatus(static_cast<absl::StatusCode>(error.error().code()),
                                error.error().message());
          if (c->error.ok()) c->error = Internal("scanner: {}", error.error().message());
        }
      }
      for (const uint32_t stream : frame.closed()) {
        if (Call* c = call(stream)) c->closed = true;
        streams_.erase(stream);
      }
      for (const auto& [stream, c] : calls) {
        if (!c.error.ok()) streams_.erase(stream);
      }
      FlushLocked();
    }
    for (auto& [stream, c] : calls) {
      if (!c.error.ok()) {
        c.sink->OnScanFailed(c.error);
      } else {
        c.sink->OnVerdict(c.clear, std::move(c.findings), c.closed);
      }
    }
  }

  void OnClosed(const absl::Status& status) {
    std::unordered_map<Stream, Watched> streams;
    {
      std::lock_guard lock(mutex_);
      session_ = nullptr;
      candidate_ = nullptr;
      pending_.Clear();
      has_pending_ = false;
      streams.swap(streams_);
    }
    const absl::Status why = Unavailable("the scanner is away: {}", Message(status));
    for (const auto& [stream, watched] : streams) watched.sink->OnScanFailed(why);
  }

  const std::chrono::milliseconds timeout_;
  const std::unique_ptr<v1::ScannerService::Stub> stub_;
  mutable std::mutex mutex_;
  SessionPtr candidate_;  // open, and not answered yet
  SessionPtr session_;    // answered
  int in_flight_ = 0;
  v1::ScanFrame pending_;
  bool has_pending_ = false;
  Stream last_stream_ =
      0;  // goes on across sessions, so that an old number never means a new stream
  std::unordered_map<Stream, Watched> streams_;
  UnaryCalls calls_{kBreaker};
  std::unique_ptr<Dialer> dialer_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ScannerClient>> ScannerClient::Create(
    const rpc::ChannelOptions& channel, std::chrono::milliseconds timeout) {
  WEFT_ASSIGN_OR_RETURN(auto made, rpc::MakeChannel(channel));
  auto client = std::make_unique<Client>(std::move(made), timeout);
  client->Start();
  return std::unique_ptr<ScannerClient>(std::move(client));
}

}  // namespace weft::gateway
