// Keeps one session to a peer open: dials, and dials again when it closes, after a pause that grows
// until a session has lasted for a while.
#pragma once

#include <grpcpp/alarm.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "libs/base/ids.h"
#include "libs/rpc/backoff.h"
#include "libs/rpc/stream_session.h"

namespace weft::rpc {

// Thread safe. At any moment at most one session (and one handler of ours) is open.
template <typename In, typename Out>
class SessionDialer {
 public:
  using Handler = SessionHandler<In, Out>;
  using StartCallFn = typename internal::ClientSession<In, Out>::StartCallFn;

  struct Options {
    StartCallFn start_call;
    // Makes the handler of the next session. Its OnClosed has returned before another is made.
    std::function<std::shared_ptr<Handler>()> make_handler;
    SessionOptions session = {};
    // Starts anew after a session that went on for at least `maximum` since the peer's first frame:
    // a peer that answers and then fails is not dialled ever again at the shortest pause.
    BackoffOptions backoff = {};
  };

  explicit SessionDialer(Options options) : core_(std::make_shared<Core>(std::move(options))) {}
  ~SessionDialer() { Stop(); }
  SessionDialer(const SessionDialer&) = delete;
  SessionDialer& operator=(const SessionDialer&) = delete;

  // Dials the first session. Call once.
  void Start() { core_->Dial(); }

  // Aborts the session and dials no more. Returns when the handler's OnClosed has returned; do not
  // call it from a handler. Legal before Start and twice.
  void Stop() { core_->Stop(); }

 private:
  class Core;

  // Passes everything on, and tells the core about the first frame and the end.
  class Watcher final : public Handler {
   public:
    Watcher(std::shared_ptr<Core> core, std::shared_ptr<Handler> inner)
        : core_(std::move(core)), inner_(std::move(inner)) {}
    void OnOpen(std::shared_ptr<Session<Out>> session) override {
      core_->Opened(session);
      inner_->OnOpen(std::move(session));
    }
    void OnFrame(In& frame) override {
      if (!std::exchange(answered_, true)) core_->Answered();
      inner_->OnFrame(frame);
    }
    void OnClosed(const absl::Status& status) override {
      inner_->OnClosed(status);
      inner_.reset();
      std::exchange(core_, nullptr)->Closed();
    }

   private:
    std::shared_ptr<Core> core_;
    std::shared_ptr<Handler> inner_;
    bool answered_ = false;
  };

  class Core : public std::enable_shared_from_this<Core> {
   public:
    explicit Core(Options options)
        : options_(std::move(options)), backoff_(options_.backoff, RandomU64()) {}

    void Dial() {
      {
        std::lock_guard lock(mutex_);
        alarm_set_ = false;
        if (stopped_) {
          changed_.notify_all();
          return;
        }
        live_ = true;
      }
      OpenSession<In, Out>(
          options_.start_call,
          std::make_shared<Watcher>(this->shared_from_this(), options_.make_handler()),
          options_.session);
    }

    void Opened(std::shared_ptr<Session<Out>> session) {
      bool stopped = false;
      {
        std::lock_guard lock(mutex_);
        session_ = session;
        stopped = stopped_;
      }
      if (stopped) session->Abort(Cancelled("stopped"));
    }

    void Answered() {
      std::lock_guard lock(mutex_);
      answered_ = std::chrono::steady_clock::now();
    }

    void Closed() {
      std::lock_guard lock(mutex_);
      session_.reset();
      live_ = false;
      changed_.notify_all();
      if (stopped_) return;
      const auto answered = std::exchange(answered_, std::nullopt);
      if (answered && std::chrono::steady_clock::now() - *answered >= options_.backoff.maximum) {
        backoff_.Reset();
      }
      const auto deadline =
          std::chrono::system_clock::now() +
          std::chrono::duration_cast<std::chrono::system_clock::duration>(backoff_.Next());
      alarm_set_ = true;
      // Cancelled or not, Dial decides; the callback keeps the core alive.
      alarm_ = std::make_unique<grpc::Alarm>();
      alarm_->Set(deadline, [core = this->shared_from_this()](bool) { core->Dial(); });
    }

    void Stop() {
      std::shared_ptr<Session<Out>> session;
      std::unique_lock lock(mutex_);
      stopped_ = true;
      session = session_;
      if (alarm_set_) alarm_->Cancel();
      lock.unlock();
      if (session) session->Abort(Cancelled("stopped"));
      lock.lock();
      changed_.wait(lock, [this] { return !live_ && !alarm_set_; });
      // gRPC's threads may hold the core a moment longer. What the functions hold, a stub and with
      // it the channel, must not end on one of them (see ClientSession::OnDone).
      const Options released = std::exchange(options_, Options());
      // The alarm keeps its callback, which holds the core, which holds the alarm.
      const std::unique_ptr<grpc::Alarm> alarm = std::move(alarm_);
      lock.unlock();
    }

   private:
    Options options_;  // empty once stopped
    std::mutex mutex_;
    std::condition_variable changed_;
    Backoff backoff_;
    std::shared_ptr<Session<Out>> session_;
    std::optional<std::chrono::steady_clock::time_point> answered_;  // of the session that is open
    std::unique_ptr<grpc::Alarm> alarm_;
    bool live_ = false;
    bool alarm_set_ = false;
    bool stopped_ = false;
  };

  std::shared_ptr<Core> core_;
};

}  // namespace weft::rpc
