// Unary gRPC calls that can be ended all at once when their owner goes away. Every call made here
// may be repeated (it changes nothing), so one that found nobody is tried once more while the retry
// budget lasts; where asked for, a server that does not answer is left alone for a while.
#pragma once

#include <absl/status/statusor.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <utility>

#include "libs/base/clock.h"
#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/rpc/backoff.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/status.h"

namespace weft::gateway {

// Retries a call in the long run, and at once.
inline constexpr double kRetryRatio = 0.1;
inline constexpr double kRetryBurst = 20;

// Thread safe.
class UnaryCalls {
 public:
  UnaryCalls() = default;
  // `clock`, which the breaker goes by, outlives the calls.
  explicit UnaryCalls(const rpc::BreakerOptions& breaker, const Clock& clock = Clock::Real()) {
    breaker_.emplace(breaker, clock);
  }
  ~UnaryCalls() { Stop(); }

  // `start` begins the call on a stub, anew for each attempt; `done` runs on a gRPC thread, exactly
  // once, or at once here when the calls were stopped or the breaker is open. All attempts together
  // end within `timeout`.
  template <typename In, typename Out, typename StartFn>
  void Start(In request, std::chrono::nanoseconds timeout, StartFn start,
             std::function<void(absl::StatusOr<Out>)> done,
             std::function<void(grpc::ClientContext&)> prepare = {}) {
    if (breaker_ && !breaker_->TryAcquire()) {
      const auto wait = std::chrono::ceil<std::chrono::seconds>(breaker_->RetryAfter());
      return done(WithRetryAfter(Unavailable("the server did not answer the last calls"),
                                 std::max(wait, std::chrono::seconds(1))));
    }
    auto call = std::make_shared<Call<In, Out, StartFn>>(
        Call<In, Out, StartFn>{.start = std::move(start),
                               .prepare = std::move(prepare),
                               .request = std::move(request),
                               .done = std::move(done),
                               .give_up = std::chrono::steady_clock::now() + timeout});
    {
      std::lock_guard lock(mutex_);
      ++unfinished_;
    }
    budget_.OnRequest();
    Attempt(std::move(call), timeout);
  }

  // Cancels what runs and waits for it.
  void Stop() {
    std::unique_lock lock(mutex_);
    stopped_ = true;
    for (grpc::ClientContext* context : running_) context->TryCancel();
    changed_.wait(lock, [this] { return unfinished_ == 0; });
  }

 private:
  template <typename In, typename Out, typename StartFn>
  struct Call {
    StartFn start;
    std::function<void(grpc::ClientContext&)> prepare;
    In request;
    Out response{};
    std::function<void(absl::StatusOr<Out>)> done;
    std::chrono::steady_clock::time_point give_up;
    std::unique_ptr<grpc::ClientContext> context{};
    bool repeated = false;
  };

  template <typename CallPtr>
  void Attempt(CallPtr call, std::chrono::nanoseconds timeout) {
    call->context = std::make_unique<grpc::ClientContext>();
    rpc::SetTimeout(*call->context, timeout);
    // The first attempt found a broken connection: the second one may wait for a new one.
    if (call->repeated) call->context->set_wait_for_ready(true);
    if (call->prepare) call->prepare(*call->context);
    grpc::ClientContext* context = call->context.get();
    bool stopped = false;
    {
      std::lock_guard lock(mutex_);
      stopped = stopped_;
      if (!stopped) running_.insert(context);
    }
    if (stopped) return Finish(call, grpc::Status(grpc::CANCELLED, "the gateway is stopping"));
    call->start(context, &call->request, &call->response,
                [this, call](const grpc::Status& status) { OnEnd(call, status); });
  }

  template <typename CallPtr>
  void OnEnd(const CallPtr& call, const grpc::Status& status) {
    {
      std::lock_guard lock(mutex_);
      running_.erase(call->context.get());
    }
    // It holds the channel, which must not end on gRPC's thread: let go before the owner may.
    call->context.reset();
    const auto left = call->give_up - std::chrono::steady_clock::now();
    if (status.error_code() == grpc::UNAVAILABLE && !call->repeated &&
        left > std::chrono::nanoseconds(0) && budget_.TryRetry()) {
      call->repeated = true;
      call->response = {};
      return Attempt(call, left);
    }
    Finish(call, status);
  }

  template <typename CallPtr>
  void Finish(const CallPtr& call, const grpc::Status& status) {
    if (breaker_) Judge(status.error_code());
    if (status.ok()) {
      call->done(std::move(call->response));
    } else {
      call->done(rpc::FromGrpcStatus(status));
    }
    std::lock_guard lock(mutex_);
    --unfinished_;
    changed_.notify_all();
  }

  // Any answer shows that the server is there; an end of our own making shows nothing.
  void Judge(grpc::StatusCode code) {
    if (code == grpc::UNAVAILABLE || code == grpc::DEADLINE_EXCEEDED) {
      breaker_->OnFailure();
    } else if (code == grpc::CANCELLED) {
      breaker_->OnAbandoned();
    } else {
      breaker_->OnSuccess();
    }
  }

  std::optional<rpc::CircuitBreaker> breaker_;
  rpc::RetryBudget budget_{kRetryRatio, kRetryBurst};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<grpc::ClientContext*> running_;
  int unfinished_ = 0;  // calls whose `done` has not returned
  bool stopped_ = false;
};

}  // namespace weft::gateway
