// The shared state of one answer: filled by any thread, written to the socket by one connection.
// Private to libs/http.
#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "libs/base/ip_address.h"
#include "libs/http/exchange.h"
#include "libs/http/server.h"

namespace weft::http {

// How many connections each address has (IPv6: each /64). Thread safe.
class AddressCount {
 public:
  bool Add(const IpAddress& network, uint32_t limit) {
    std::lock_guard lock(mutex_);
    uint32_t& count = counts_[network.bytes()];
    if (count >= limit) return false;
    ++count;
    return true;
  }
  void Remove(const IpAddress& network) {
    std::lock_guard lock(mutex_);
    const auto it = counts_.find(network.bytes());
    if (it != counts_.end() && --it->second == 0) counts_.erase(it);
  }

 private:
  std::mutex mutex_;
  std::map<std::array<uint8_t, 16>, uint32_t> counts_;
};

// Limits and counters of a server, shared by its connections and the answers that outlive them.
struct ServerCore {
  ServerOptions options;
  ServerHooks hooks;
  std::shared_ptr<const Router> router;
  std::atomic<size_t> connections{0};
  std::atomic<size_t> streams{0};
  std::atomic<size_t> active_requests{0};
  std::atomic<size_t> buffered_bytes{0};  // of all answers and request bodies
  std::atomic<size_t> stalled{0};         // streams that were cut because their reader was too slow
  std::atomic<size_t> tls_failures{0};
  AddressCount addresses;
  std::atomic<size_t> evicted{0};                  // waiting connections that made room for others
  std::deque<std::atomic<uint32_t>> route_active;  // by Route::index
  std::atomic<bool> draining{false};
};

// Tells a connection that its answer has something to write or that its state changed.
class Waker {
 public:
  virtual ~Waker() = default;
  // Any thread, under the answer's lock; must not block.
  virtual void Wake() = 0;
};

class Answer {
 public:
  // `waker` is not called after Detach.
  Answer(std::shared_ptr<ServerCore> core, Request request, bool keep_alive,
         std::shared_ptr<Waker> waker);

  const Request& request() const { return request_; }

  // --- any thread
  void Send(Response response);
  bool StartStream(Response head);
  bool Write(std::string_view piece);
  void End();
  void Abort();
  size_t buffered_bytes() const;
  void OnClose(std::function<void(CloseReason)> callback);
  bool closed() const;
  void Dropped();  // no handler holds it any more

  // --- the connection's thread
  struct Work {
    std::string bytes;
    bool complete = false;  // nothing more will come
    bool aborted = false;   // cut the connection
  };
  Work Take();
  void Wrote(size_t bytes);  // the socket took so many of the last Take's bytes
  bool has_work() const;
  // Ends the answer from outside. A whole answer may still be sent for kClientGone (the peer may
  // have closed only its sending side).
  void Close(CloseReason reason);
  void Detach();  // the waker is not called any more; tells a close that nobody was told of yet

  bool keep_alive() const;
  int status() const;  // 0 before an answer began
  size_t body_bytes() const;

 private:
  bool BeginLocked(Response& response, bool stream);
  void WakeLocked();
  void CountLocked();                     // what it holds, towards all answers
  bool TooMuchLocked(size_t more) const;  // the stream must be dropped

  const std::shared_ptr<ServerCore> core_;
  const Request request_;

  mutable std::mutex mutex_;
  std::shared_ptr<Waker> waker_;
  bool keep_alive_;
  bool begun_ = false;
  bool streaming_ = false;
  bool chunked_ = false;
  bool counted_stream_ = false;
  bool complete_ = false;
  bool aborted_ = false;
  bool closed_ = false;
  CloseReason close_reason_ = CloseReason::kClientGone;
  int status_ = 0;
  size_t body_bytes_ = 0;
  size_t in_flight_ = 0;
  size_t counted_ = 0;
  std::string pending_;
  std::function<void(CloseReason)> on_close_;
};

// What handlers hold.
class AnswerHandle final : public Exchange {
 public:
  explicit AnswerHandle(std::shared_ptr<Answer> answer) : answer_(std::move(answer)) {}
  ~AnswerHandle() override { answer_->Dropped(); }
  const Request& request() const override { return answer_->request(); }
  void Send(Response response) override { answer_->Send(std::move(response)); }
  bool StartStream(Response head) override { return answer_->StartStream(std::move(head)); }
  bool Write(std::string_view piece) override { return answer_->Write(piece); }
  void End() override { answer_->End(); }
  void Abort() override { answer_->Abort(); }
  size_t buffered_bytes() const override { return answer_->buffered_bytes(); }
  void OnClose(std::function<void(CloseReason)> cb) override { answer_->OnClose(std::move(cb)); }
  bool closed() const override { return answer_->closed(); }

 private:
  const std::shared_ptr<Answer> answer_;
};

}  // namespace weft::http
