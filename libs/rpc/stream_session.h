// The two ends of a bidirectional stream that lives as long as a pair of processes.
//
//   frames out: Send -> outbox (bounded) -> one write in flight, the next from OnWriteDone
//   frames in : one read in flight -> SessionHandler::OnFrame -> the next read
//
// The same rules hold on both ends. A session is open until it is closed once: by Close, by the
// peer, by a broken connection, or because the outbox overflowed (a peer that reads too slowly must
// never stall or grow its producer). OnClosed then comes exactly once, after every other callback.
//
//   Server: grpc::ServerBidiReactor<In, Out>* Session(grpc::CallbackServerContext* context) {
//     return rpc::AcceptSession<In, Out>(context, std::make_shared<MyHandler>(…), options);
//   }
//   Client: auto session = rpc::OpenSession<In, Out>(
//       [stub](grpc::ClientContext* c, auto* reactor) { stub->async()->Session(c, reactor); },
//       std::make_shared<MyHandler>(…), options);
#pragma once

#include <absl/status/status.h>
#include <grpcpp/client_context.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/client_callback.h>
#include <grpcpp/support/server_callback.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "libs/base/status.h"
#include "libs/rpc/status.h"

namespace weft::rpc {

struct SessionOptions {
  size_t max_queued_frames = 4096;
  size_t max_queued_bytes = size_t{64} << 20;
};

// The sending side of an open or closed session. Thread safe, never blocks. It outlives the stream:
// a closed session refuses frames.
template <typename Out>
class Session {
 public:
  virtual ~Session() = default;
  // True: the frame is queued (frames leave in the order of Send). False: the session is closed,
  // or this frame overflowed the outbox, which closes it.
  virtual bool Send(Out frame) = 0;
  // Sends what is queued, then ends this side of the stream with OK. A server handles no more
  // frames from then on; a client still gets what the server has to say. Idempotent.
  virtual void Close() = 0;
  // Ends the stream now and drops what is queued. A client's peer sees CANCELLED; a server's client
  // sees `status`. Idempotent; also cuts short a Close that waits for a slow peer.
  virtual void Abort(const absl::Status& status) = 0;
  virtual size_t queued_frames() const = 0;
  // True from the first moment that Send refuses.
  virtual bool closed() const = 0;
};

// What a process does with a session. The callbacks of one session never overlap; they run on
// gRPC's threads and must not block.
template <typename In, typename Out>
class SessionHandler {
 public:
  virtual ~SessionHandler() = default;
  // First. The handler may keep the session and Send on it from any thread.
  virtual void OnOpen(std::shared_ptr<Session<Out>> session) = 0;
  // The frame may be moved from.
  virtual void OnFrame(In& frame) = 0;
  // Last. OK: the peer, or Close here, ended the stream in order. `status` is the peer's when the
  // stream broke, and RESOURCE_EXHAUSTED when the outbox overflowed.
  virtual void OnClosed(const absl::Status& status) = 0;
};

namespace internal {

// The outbox both ends share. All members are guarded by the owner's mutex.
template <typename Out>
class Outbox {
 public:
  explicit Outbox(SessionOptions options) : options_(options) {}

  bool Fits(size_t bytes) const {
    return frames_.size() < options_.max_queued_frames &&
           bytes_ + bytes <= options_.max_queued_bytes;
  }
  void Push(Out frame, size_t bytes) {
    bytes_ += bytes;
    frames_.emplace_back(std::move(frame), bytes);
  }
  // Moves the next frame to the place from which it is written.
  const Out* Next() {
    in_flight_ = std::move(frames_.front().first);
    bytes_ -= frames_.front().second;
    frames_.pop_front();
    writing_ = true;
    return &in_flight_;
  }
  void Written() { writing_ = false; }
  void Clear() {
    frames_.clear();
    bytes_ = 0;
  }
  bool writing() const { return writing_; }
  bool empty() const { return frames_.empty(); }
  size_t size() const { return frames_.size(); }

 private:
  const SessionOptions options_;
  std::deque<std::pair<Out, size_t>> frames_;
  size_t bytes_ = 0;
  Out in_flight_;
  bool writing_ = false;
};

inline absl::Status OverflowStatus() {
  return ResourceExhausted("session outbox is full: the peer reads too slowly");
}

// Frees itself when gRPC says that the stream is done.
template <typename In, typename Out>
class ServerSession final : public grpc::ServerBidiReactor<In, Out>,
                            public Session<Out>,
                            public std::enable_shared_from_this<ServerSession<In, Out>> {
 public:
  ServerSession(grpc::CallbackServerContext* context,
                std::shared_ptr<SessionHandler<In, Out>> handler, SessionOptions options)
      : context_(context), handler_(std::move(handler)), outbox_(options) {}

  // Call once, when a shared_ptr owns the session.
  void Open() {
    self_ = this->shared_from_this();
    handler_->OnOpen(self_);
    this->StartRead(&incoming_);
  }

  bool Send(Out frame) override {
    const size_t bytes = frame.ByteSizeLong();
    std::lock_guard lock(mutex_);
    if (state_ != State::kOpen) return false;
    if (!outbox_.Fits(bytes)) {
      AbortLocked(OverflowStatus());
      return false;
    }
    outbox_.Push(std::move(frame), bytes);
    PumpLocked();
    return true;
  }

  void Close() override {
    std::lock_guard lock(mutex_);
    CloseLocked();
  }

  void Abort(const absl::Status& status) override {
    std::lock_guard lock(mutex_);
    AbortLocked(status);
  }

  size_t queued_frames() const override {
    std::lock_guard lock(mutex_);
    return outbox_.size();
  }

  bool closed() const override {
    std::lock_guard lock(mutex_);
    return state_ != State::kOpen;
  }

 private:
  enum class State { kOpen, kClosing, kFinished };

  void OnReadDone(bool ok) override {
    if (!ok) {  // the client has half-closed, or the connection broke (then OnCancel comes too)
      std::lock_guard lock(mutex_);
      CloseLocked();
      return;
    }
    if (!closed()) handler_->OnFrame(incoming_);
    incoming_.Clear();
    std::lock_guard lock(mutex_);
    if (state_ != State::kFinished) this->StartRead(&incoming_);
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard lock(mutex_);
    outbox_.Written();
    if (!ok) {
      AbortLocked(Unavailable("the peer went away"));
      return;
    }
    PumpLocked();
  }

  void OnCancel() override {
    std::lock_guard lock(mutex_);
    cancelled_ = true;
    AbortLocked(Cancelled("the peer went away"));
  }

  void OnDone() override {
    std::shared_ptr<ServerSession> self;
    absl::Status status;
    {
      std::lock_guard lock(mutex_);
      context_ = nullptr;
      // A broken stream first looks like a half-close: its read fails before OnCancel comes.
      status = status_.ok() && cancelled_ ? Cancelled("the peer went away") : status_;
      self = std::move(self_);
    }
    handler_->OnClosed(status);
    handler_.reset();
  }

  void CloseLocked() {
    if (state_ != State::kOpen) return;
    state_ = State::kClosing;
    PumpLocked();
  }

  void AbortLocked(const absl::Status& status) {
    if (state_ == State::kFinished) return;
    if (status_.ok()) status_ = status.ok() ? Cancelled("aborted") : status;
    state_ = State::kClosing;
    outbox_.Clear();
    // A write that a slow peer does not take never ends by itself, and Finish must wait for it.
    if (outbox_.writing()) context_->TryCancel();
    PumpLocked();
  }

  void PumpLocked() {
    if (outbox_.writing() || state_ == State::kFinished) return;
    if (!outbox_.empty()) {
      this->StartWrite(outbox_.Next());
    } else if (state_ == State::kClosing) {
      state_ = State::kFinished;
      this->Finish(ToGrpcStatus(status_));
    }
  }

  grpc::CallbackServerContext* context_;  // valid until OnDone
  std::shared_ptr<SessionHandler<In, Out>> handler_;
  In incoming_;  // gRPC's while a read is in flight, else the read callback's

  mutable std::mutex mutex_;
  State state_ = State::kOpen;
  bool cancelled_ = false;
  absl::Status status_;
  Outbox<Out> outbox_;
  std::shared_ptr<ServerSession> self_;
};

template <typename In, typename Out>
class ClientSession final : public grpc::ClientBidiReactor<Out, In>,
                            public Session<Out>,
                            public std::enable_shared_from_this<ClientSession<In, Out>> {
 public:
  using StartCallFn = std::function<void(grpc::ClientContext*, grpc::ClientBidiReactor<Out, In>*)>;

  ClientSession(std::shared_ptr<SessionHandler<In, Out>> handler, SessionOptions options)
      : context_(std::make_unique<grpc::ClientContext>()),
        handler_(std::move(handler)),
        outbox_(options) {}

  void Open(const StartCallFn& start, const std::map<std::string, std::string>& metadata) {
    self_ = this->shared_from_this();
    const std::shared_ptr<ClientSession> alive = self_;
    for (const auto& [key, value] : metadata) context_->AddMetadata(key, value);
    context_->set_wait_for_ready(false);
    start(context_.get(), this);
    // The hold keeps OnDone away until a read is in flight. From then on there always is one, until
    // OnReadDone(false) forbids further writes: so Send may start a write from any thread.
    this->AddHold();
    this->StartCall();
    handler_->OnOpen(self_);
    this->StartRead(&incoming_);
    this->RemoveHold();
  }

  bool Send(Out frame) override {
    const size_t bytes = frame.ByteSizeLong();
    std::lock_guard lock(mutex_);
    if (state_ != State::kOpen) return false;
    if (!outbox_.Fits(bytes)) {
      AbortLocked(OverflowStatus());
      return false;
    }
    outbox_.Push(std::move(frame), bytes);
    PumpLocked();
    return true;
  }

  void Close() override {
    std::lock_guard lock(mutex_);
    if (state_ != State::kOpen) return;
    state_ = State::kClosing;
    PumpLocked();
  }

  void Abort(const absl::Status& status) override {
    std::lock_guard lock(mutex_);
    AbortLocked(status);
  }

  size_t queued_frames() const override {
    std::lock_guard lock(mutex_);
    return outbox_.size();
  }

  bool closed() const override {
    std::lock_guard lock(mutex_);
    return state_ != State::kOpen;
  }

 private:
  enum class State { kOpen, kClosing, kNoMoreWrites };

  void OnReadDone(bool ok) override {
    if (!ok) {  // the server has ended the stream; its status comes with OnDone
      std::lock_guard lock(mutex_);
      outbox_.Clear();
      state_ = State::kNoMoreWrites;
      return;
    }
    if (!aborted()) handler_->OnFrame(incoming_);
    incoming_.Clear();
    this->StartRead(&incoming_);
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard lock(mutex_);
    outbox_.Written();
    if (!ok) {
      outbox_.Clear();
      state_ = State::kNoMoreWrites;
      return;
    }
    PumpLocked();
  }

  void OnDone(const grpc::Status& status) override {
    std::shared_ptr<ClientSession> self;
    std::unique_ptr<grpc::ClientContext> context;
    absl::Status closed;
    {
      std::lock_guard lock(mutex_);
      state_ = State::kNoMoreWrites;
      outbox_.Clear();
      closed = status_.ok() ? FromGrpcStatus(status) : status_;
      self = std::move(self_);
      context = std::move(context_);
    }
    // The context holds the channel. Once OnClosed is heard the owner may let go of its own hold,
    // and the last one must not end here: gRPC 1.51 joins its callback threads when the last
    // channel or server ends, and aborts when one of these threads is to join itself.
    context.reset();
    handler_->OnClosed(closed);
    handler_.reset();
  }

  bool aborted() const {
    std::lock_guard lock(mutex_);
    return aborted_;
  }

  void AbortLocked(const absl::Status& status) {
    if (aborted_ || self_ == nullptr) return;
    aborted_ = true;
    if (status_.ok()) status_ = status.ok() ? Cancelled("aborted") : status;
    state_ = State::kNoMoreWrites;
    outbox_.Clear();
    context_->TryCancel();
  }

  void PumpLocked() {
    if (outbox_.writing() || state_ == State::kNoMoreWrites) return;
    if (!outbox_.empty()) {
      this->StartWrite(outbox_.Next());
    } else if (state_ == State::kClosing) {
      state_ = State::kNoMoreWrites;
      this->StartWritesDone();
    }
  }

  std::unique_ptr<grpc::ClientContext> context_;  // null after the stream is done
  std::shared_ptr<SessionHandler<In, Out>> handler_;
  In incoming_;

  mutable std::mutex mutex_;
  State state_ = State::kOpen;
  bool aborted_ = false;
  absl::Status status_;  // set by Abort only
  Outbox<Out> outbox_;
  std::shared_ptr<ClientSession> self_;
};

}  // namespace internal

// Serves one stream. Returns the reactor that the service method returns to gRPC.
template <typename In, typename Out>
grpc::ServerBidiReactor<In, Out>* AcceptSession(grpc::CallbackServerContext* context,
                                                std::shared_ptr<SessionHandler<In, Out>> handler,
                                                SessionOptions options = {}) {
  auto session =
      std::make_shared<internal::ServerSession<In, Out>>(context, std::move(handler), options);
  session->Open();
  return session.get();
}

// Opens one stream. `start` begins the call on the stub; it is called once, before this returns.
// A server that cannot be reached shows as OnClosed(UNAVAILABLE).
template <typename In, typename Out>
std::shared_ptr<Session<Out>> OpenSession(
    const typename internal::ClientSession<In, Out>::StartCallFn& start,
    std::shared_ptr<SessionHandler<In, Out>> handler, SessionOptions options = {},
    const std::map<std::string, std::string>& metadata = {}) {
  auto session = std::make_shared<internal::ClientSession<In, Out>>(std::move(handler), options);
  session->Open(start, metadata);
  return session;
}

}  // namespace weft::rpc
