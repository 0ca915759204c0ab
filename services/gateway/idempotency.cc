#include "services/gateway/idempotency.h"

#include <openssl/evp.h>

#include <algorithm>
#include <atomic>
#include <list>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "services/gateway/api_error.h"
#include "services/gateway/call.h"

namespace weft::gateway {
namespace {

using namespace std::chrono_literals;
constexpr std::string_view kHeader = "Idempotency-Key";
constexpr size_t kMaxAnswer = 1 << 20;
constexpr size_t kMaxKey = 255;
// What belongs to the answer and not to the request that got it.
constexpr std::string_view kKept[] = {"Content-Type", "Location", "Cache-Control"};

std::string Sha256(std::initializer_list<std::string_view> parts) {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  EVP_DigestInit_ex(context, EVP_sha256(), nullptr);
  for (const std::string_view part : parts) {
    const uint64_t size = part.size();  // so that two lists never read as one text
    EVP_DigestUpdate(context, &size, sizeof(size));
    EVP_DigestUpdate(context, part.data(), part.size());
  }
  std::string out(32, '\0');
  EVP_DigestFinal_ex(context, reinterpret_cast<unsigned char*>(out.data()), nullptr);
  EVP_MD_CTX_free(context);
  return out;
}

class LocalStore final : public IdempotencyStore {
 public:
  LocalStore(const IdempotencyOptions& options, Clock& clock) : options_(options), clock_(clock) {}

  Lookup Begin(const std::string& key, const std::string& fingerprint) override {
    std::lock_guard lock(mutex_);
    Expire();
    const auto it = entries_.find(key);
    if (it == entries_.end()) {
      entries_[key].fingerprint = fingerprint;
      return {};
    }
    const Entry& entry = it->second;
    if (entry.fingerprint != fingerprint) return {Found::kDifferent, {}};
    if (!entry.answered) return {Found::kInFlight, {}};
    return {Found::kAnswered, entry.answer};
  }

  void Finish(const std::string& key, http::Response answer) override {
    std::lock_guard lock(mutex_);
    const auto it = entries_.find(key);
    if (it == entries_.end() || it->second.answered) return;
    Entry& entry = it->second;
    entry.answer = std::move(answer);
    entry.answered = true;
    entry.bytes = entry.answer.body.size() + key.size() + 512;
    entry.expires = clock_.Now() + options_.ttl;
    bytes_ += entry.bytes;
    order_.push_back(key);
    while (bytes_ > options_.max_bytes && !order_.empty()) DropOldest();
  }

  void Abandon(const std::string& key) override {
    std::lock_guard lock(mutex_);
    const auto it = entries_.find(key);
    if (it != entries_.end() && !it->second.answered) entries_.erase(it);
  }

 private:
  struct Entry {
    std::string fingerprint;
    http::Response answer;
    bool answered = false;
    size_t bytes = 0;
    SteadyTime expires{};
  };

  void DropOldest() {
    const auto it = entries_.find(order_.front());
    bytes_ -= it->second.bytes;
    entries_.erase(it);
    order_.pop_front();
  }
  // All live equally long: the oldest ends first.
  void Expire() {
    const auto now = clock_.Now();
    while (!order_.empty() && entries_.find(order_.front())->second.expires <= now) DropOldest();
  }

  const IdempotencyOptions options_;
  Clock& clock_;
  std::mutex mutex_;
  std::unordered_map<std::string, Entry> entries_;
  std::list<std::string> order_;  // of what is answered, the oldest first
  size_t bytes_ = 0;
};

bool MayBeTriedAgain(int status) { return status >= 500 || status == 408 || status == 429; }

// Passes everything on and keeps a whole answer.
class KeepingExchange final : public http::Exchange {
 public:
  KeepingExchange(http::ExchangePtr inner, std::shared_ptr<IdempotencyStore> store, std::string key)
      : inner_(std::move(inner)), store_(std::move(store)), key_(std::move(key)) {}
  ~KeepingExchange() override { Abandon(); }

  const http::Request& request() const override { return inner_->request(); }
  void Send(http::Response response) override {
    if (MayBeTriedAgain(response.status) || response.status == 499 ||
        response.body.size() > kMaxAnswer) {
      Abandon();
    } else if (!settled_.exchange(true)) {
      http::Response kept;
      kept.status = response.status;
      kept.body = response.body;
      for (const std::string_view name : kKept) {
        if (const std::string* value = response.headers.Find(name)) kept.headers.Add(name, *value);
      }
      store_->Finish(key_, std::move(kept));
    }
    inner_->Send(std::move(response));
  }
  bool StartStream(http::Response head) override {
    Abandon();
    return inner_->StartStream(std::move(head));
  }
  bool Write(std::string_view piece) override { return inner_->Write(piece); }
  void End() override { inner_->End(); }
  void Abort() override { inner_->Abort(); }
  size_t buffered_bytes() const override { return inner_->buffered_bytes(); }
  void OnClose(std::function<void(http::CloseReason)> callback) override {
    inner_->OnClose(std::move(callback));
  }
  bool closed() const override { return inner_->closed(); }

 private:
  void Abandon() {
    if (!settled_.exchange(true)) store_->Abandon(key_);
  }

  const http::ExchangePtr inner_;
  const std::shared_ptr<IdempotencyStore> store_;
  const std::string key_;
  std::atomic<bool> settled_{false};
};

}  // namespace

std::unique_ptr<IdempotencyStore> NewLocalIdempotencyStore(const IdempotencyOptions& options,
                                                           Clock& clock) {
  return std::make_unique<LocalStore>(options, clock);
}

http::ExchangePtr Idempotent(const std::shared_ptr<IdempotencyStore>& store,
                             const http::ExchangePtr& exchange) {
  const http::Request& request = exchange->request();
  const std::string* header = request.headers.Find(kHeader);
  if (!store || header == nullptr || request.method == "GET" || request.method == "HEAD") {
    return exchange;
  }
  const Call call(exchange);
  if (header->empty() || header->size() > kMaxKey || request.headers.Count(kHeader) > 1 ||
      !std::all_of(header->begin(), header->end(), [](char c) { return c > 0x20 && c < 0x7f; })) {
    call.Fail(
        InvalidArgument("Invalid 'Idempotency-Key': 1 to {} characters without blanks.", kMaxKey));
    return nullptr;
  }
  const auto& principal = call.context().principal;
  if (!principal) return exchange;  // nobody whose key it could be
  const std::string key = Sha256({principal->key_id, *header});
  auto found = store->Begin(key, Sha256({request.method, request.target, request.body}));
  switch (found.found) {
    case IdempotencyStore::Found::kNew:
      return std::make_shared<KeepingExchange>(exchange, store, key);
    case IdempotencyStore::Found::kAnswered:
      found.answer.headers.Set("Idempotency-Replayed", "true");
      call.Send(std::move(found.answer));
      return nullptr;
    case IdempotencyStore::Found::kInFlight: {
      http::Response response =
          ServerError(409, "idempotency_key_in_use",
                      "The first request with this Idempotency-Key still works.");
      response.headers.Set("Retry-After", "1");
      call.Send(std::move(response));
      return nullptr;
    }
    case IdempotencyStore::Found::kDifferent:
      break;
  }
  call.Send(ServerError(422, "idempotency_key_reused",
                        "This Idempotency-Key was used for another request."));
  return nullptr;
}

std::shared_ptr<const http::Router> WithIdempotency(const http::Router& router,
                                                    std::shared_ptr<IdempotencyStore> store) {
  auto out = std::make_shared<http::Router>();
  for (http::Router::Route route : router.routes()) {
    route.handler = [store, handler = std::move(route.handler)](const http::ExchangePtr& exchange) {
      if (const http::ExchangePtr own = Idempotent(store, exchange)) handler(own);
    };
    out->Add(std::move(route)).IgnoreError();  // they were in one router already
  }
  return out;
}

}  // namespace weft::gateway
