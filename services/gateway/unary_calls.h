// Unary gRPC calls that can be ended all at once when their owner goes away.
#pragma once

#include <absl/status/statusor.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <utility>

#include "libs/base/status.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/status.h"

namespace weft::gateway {

// Thread safe.
class UnaryCalls {
 public:
  ~UnaryCalls() { Stop(); }

  // `start` begins the call on a stub; `done` runs on a gRPC thread, exactly once, or at once here
  // when the calls were stopped.
  template <typename In, typename Out, typename StartFn>
  void Start(In request, std::chrono::nanoseconds timeout, StartFn start,
             std::function<void(absl::StatusOr<Out>)> done,
             const std::function<void(grpc::ClientContext&)>& prepare = {}) {
    struct Call {
      std::unique_ptr<grpc::ClientContext> context = std::make_unique<grpc::ClientContext>();
      In request;
      Out response;
      std::function<void(absl::StatusOr<Out>)> done;
    };
    auto call = std::make_shared<Call>();
    call->request = std::move(request);
    call->done = std::move(done);
    rpc::SetTimeout(*call->context, timeout);
    if (prepare) prepare(*call->context);
    bool stopped = false;
    {
      std::lock_guard lock(mutex_);
      stopped = stopped_;
      if (!stopped) {
        running_.insert(call->context.get());
        ++unfinished_;
      }
    }
    if (stopped) return call->done(Cancelled("the gateway is stopping"));
    grpc::ClientContext* context = call->context.get();
    start(context, &call->request, &call->response, [this, call](const grpc::Status& status) {
      {
        std::lock_guard lock(mutex_);
        running_.erase(call->context.get());
      }
      // It holds the channel, which must not end on gRPC's thread: let go before the owner may.
      call->context.reset();
      if (status.ok()) {
        call->done(std::move(call->response));
      } else {
        call->done(rpc::FromGrpcStatus(status));
      }
      std::lock_guard lock(mutex_);
      --unfinished_;
      changed_.notify_all();
    });
  }

  // Cancels what runs and waits for it.
  void Stop() {
    std::unique_lock lock(mutex_);
    stopped_ = true;
    for (grpc::ClientContext* context : running_) context->TryCancel();
    changed_.wait(lock, [this] { return unfinished_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<grpc::ClientContext*> running_;
  int unfinished_ = 0;  // calls whose `done` has not returned
  bool stopped_ = false;
};

}  // namespace weft::gateway
