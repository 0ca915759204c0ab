#include "libs/cache/response_cache.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "libs/base/status.h"

namespace weft::cache {
namespace {

constexpr std::string_view kChannel = "weft:cache:invalidate";
constexpr size_t kTagBytes = 32;
constexpr size_t kTimeBytes = 8;
constexpr size_t kKeptInvalidations = 1'024;

// Unix milliseconds in front of each body.
std::string WithTime(WallTime at, std::string_view body) {
  const auto millis = static_cast<uint64_t>(UnixMillis(at));
  std::string out(kTimeBytes, '\0');
  std::memcpy(out.data(), &millis, kTimeBytes);
  out.append(body);
  return out;
}

int64_t TimeOf(std::string_view timed) {
  uint64_t millis = 0;
  std::memcpy(&millis, timed.data(), kTimeBytes);
  return static_cast<int64_t>(millis);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ResponseCache>> ResponseCache::Create(CacheOptions options,
                                                                     redis::Client* redis,
                                                                     Clock& clock) {
  if (options.ttl.count() < 1) return InvalidArgument("ttl: must be at least 1 ms");
  std::unique_ptr<ResponseCache> out(new ResponseCache(std::move(options), redis, clock));
  if (redis == nullptr) return out;
  out->writer_ = std::thread([cache = out.get()] { cache->WriteLoop(); });
  redis::SubscriberCallbacks callbacks;
  callbacks.message = [cache = out.get()](std::string_view, std::string_view text) {
    KeyPattern pattern;
    if (KeyPattern::Decode(text, pattern)) cache->InvalidateHere(pattern);
  };
  // What was invalidated while nobody listened is not known: all may be old.
  callbacks.state = [cache = out.get()](bool connected) {
    if (connected) cache->InvalidateHere({});
  };
  WEFT_ASSIGN_OR_RETURN(
      out->subscriber_,
      redis::Subscriber::Start(redis->options(), {std::string(kChannel)}, std::move(callbacks)));
  return out;
}

ResponseCache::ResponseCache(CacheOptions options, redis::Client* redis, Clock& clock)
    : options_(std::move(options)), redis_(redis), clock_(clock), local_(options_.max_bytes) {}

ResponseCache::~ResponseCache() {
  subscriber_.reset();
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  if (writer_.joinable()) writer_.join();
}

std::string ResponseCache::Seal(std::string_view key, std::string_view body) const {
  // The key is part of it: a value that was copied to another key is not its answer.
  std::string message = fmt::format("{}:{}", key.size(), key);
  message.append(body);
  std::array<unsigned char, kTagBytes> tag{};
  unsigned size = 0;
  WEFT_CHECK(HMAC(EVP_sha256(), options_.secret.data(), static_cast<int>(options_.secret.size()),
                  reinterpret_cast<const unsigned char*>(message.data()), message.size(),
                  tag.data(), &size) != nullptr &&
             size == kTagBytes);
  std::string out(tag.begin(), tag.end());
  out.append(body);
  return out;
}

std::optional<std::string_view> ResponseCache::Unseal(std::string_view key,
                                                      std::string_view sealed) const {
  if (sealed.size() < kTagBytes + kTimeBytes) return std::nullopt;
  const std::string_view body = sealed.substr(kTagBytes);
  const std::string again = Seal(key, body);
  if (CRYPTO_memcmp(again.data(), sealed.data(), kTagBytes) != 0) return std::nullopt;
  return body;
}

std::optional<ResponseCache::Hit> ResponseCache::Find(const std::string& key) {
  const int64_t now = UnixMillis(clock_.Wall());
  const auto hit = [&](std::string_view timed) -> std::optional<Hit> {
    const int64_t age = std::max<int64_t>(0, now - TimeOf(timed));
    if (age >= options_.ttl.count()) return std::nullopt;
    return Hit{.value = std::make_shared<const std::string>(timed.substr(kTimeBytes)),
               .age = std::chrono::milliseconds(age)};
  };
  uint64_t epoch = 0;
  {
    std::lock_guard lock(mutex_);
    epoch = epoch_;
    if (const S3Fifo::Value timed = local_.Get(key)) {
      if (auto found = hit(*timed)) return found;
      local_.Erase(key);
    }
  }
  if (redis_ == nullptr) return std::nullopt;
  const auto reply = redis_->Run({"GET", key});
  if (!reply.ok() || reply->kind != redis::Reply::Kind::kString) return std::nullopt;
  const auto timed = Unseal(key, reply->text);
  if (!timed) {
    std::lock_guard lock(mutex_);
    ++refused_;
    return std::nullopt;
  }
  auto found = hit(*timed);
  if (!found) return std::nullopt;
  found->from_redis = true;
  std::lock_guard lock(mutex_);
  if (epoch == epoch_) local_.Put(key, std::make_shared<const std::string>(*timed));
  return found;
}

uint64_t ResponseCache::Epoch() const {
  std::lock_guard lock(mutex_);
  return epoch_;
}

bool ResponseCache::Store(const std::string& key, std::string_view value, uint64_t epoch) {
  if (value.size() > options_.max_value_bytes) return false;
  const std::string timed = WithTime(clock_.Wall(), value);
  std::string sealed = redis_ != nullptr ? Seal(key, timed) : std::string();
  {
    std::lock_guard lock(mutex_);
    if (epoch < epoch_) {
      // Invalidations that are not kept any more may have meant it.
      if (invalidations_.empty() || invalidations_.front().number > epoch + 1) return false;
      for (const Invalidation& one : invalidations_) {
        if (one.number > epoch && one.pattern.Matches(key)) return false;
      }
    }
    local_.Put(key, std::make_shared<const std::string>(timed));
    if (redis_ == nullptr) return true;
    if (writes_.size() >= options_.queue) {
      ++dropped_;
      return true;
    }
    writes_.push_back({key, std::move(sealed)});
  }
  changed_.notify_all();
  return true;
}

void ResponseCache::WriteLoop() {
  const std::string ttl = std::to_string(options_.ttl.count());
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stop_ || !writes_.empty(); });
    if (writes_.empty()) return;
    const Write write = std::move(writes_.front());
    writes_.pop_front();
    lock.unlock();
    const bool wrote = redis_->Run({"SET", write.key, write.sealed, "PX", ttl}).ok();
    lock.lock();
    if (!wrote) ++dropped_;
  }
}

size_t ResponseCache::InvalidateHere(const KeyPattern& pattern) {
  std::lock_guard lock(mutex_);
  invalidations_.push_back({++epoch_, pattern});
  if (invalidations_.size() > kKeptInvalidations) invalidations_.pop_front();
  std::erase_if(writes_, [&](const Write& write) { return pattern.Matches(write.key); });
  return local_.EraseIf([&](std::string_view key) { return pattern.Matches(key); });
}

absl::StatusOr<uint64_t> ResponseCache::Invalidate(const KeyPattern& pattern) {
  uint64_t gone = InvalidateHere(pattern);
  if (redis_ == nullptr) return gone;
  // Others first drop their own, so that none puts back what Redis loses.
  const std::string text = pattern.Encode();
  WEFT_RETURN_IF_ERROR(redis_->Run({"PUBLISH", kChannel, text}).status());
  const std::string glob = pattern.RedisGlob();
  std::string cursor = "0";
  uint64_t unlinked = 0;
  do {
    WEFT_ASSIGN_OR_RETURN(
        const redis::Reply page,
        redis_->Run({"SCAN", cursor, "MATCH", glob, "COUNT", "1000"}, std::chrono::seconds(5)));
    if (page.items.size() != 2) return Internal("SCAN answered {} values", page.items.size());
    cursor = page.items[0].text;
    std::vector<std::string_view> unlink = {"UNLINK"};
    for (const redis::Reply& key : page.items[1].items) {
      if (pattern.Matches(key.text)) unlink.push_back(key.text);
    }
    if (unlink.size() == 1) continue;
    WEFT_ASSIGN_OR_RETURN(const redis::Reply removed,
                          redis_->Run(redis::Command(unlink), std::chrono::seconds(5)));
    unlinked += static_cast<uint64_t>(removed.integer);
  } while (cursor != "0");
  // The same answers were in both.
  return std::max(gone, unlinked);
}

ResponseCache::Stats ResponseCache::stats() const {
  std::lock_guard lock(mutex_);
  return {.bytes = local_.bytes(),
          .entries = local_.size(),
          .evictions = local_.evictions(),
          .dropped = dropped_,
          .refused = refused_};
}

}  // namespace weft::cache
