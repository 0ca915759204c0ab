#include "services/gateway/stored_quotas.h"

#include <utility>

#include "libs/base/status.h"
#include "libs/store/changes.h"
#include "libs/telemetry/log.h"

namespace weft::gateway {
namespace {
const telemetry::Logger kLog("gateway.limits");
}  // namespace

absl::StatusOr<std::unique_ptr<StoredQuotas>> StoredQuotas::Start(
    std::shared_ptr<store::Database> database, std::chrono::milliseconds poll) {
  std::unique_ptr<StoredQuotas> out(new StoredQuotas(std::move(database), poll));
  WEFT_RETURN_IF_ERROR(Annotate(out->Look(), "the table of quotas"));
  out->thread_ = std::thread([quotas = out.get()] { quotas->Run(); });
  return out;
}

StoredQuotas::~StoredQuotas() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  stopped_.notify_all();
  if (thread_.joinable()) thread_.join();
}

std::shared_ptr<const QuotaBook> StoredQuotas::book() const {
  std::lock_guard lock(mutex_);
  return book_;
}

absl::Status StoredQuotas::Look() {
  // The number first: a change between the two reads is seen again.
  WEFT_ASSIGN_OR_RETURN(const int64_t number,
                        store::ChangeNumber(*database_, store::Topic::kQuotas));
  if (number == seen_) return absl::OkStatus();
  WEFT_ASSIGN_OR_RETURN(const auto records, store::ReadQuotas(*database_));
  auto book = std::make_shared<const QuotaBook>(records);
  seen_ = number;
  std::lock_guard lock(mutex_);
  book_ = std::move(book);
  return absl::OkStatus();
}

void StoredQuotas::Run() {
  bool failed = false;
  std::unique_lock lock(mutex_);
  while (!stopped_.wait_for(lock, poll_, [this] { return stop_; })) {
    lock.unlock();
    const absl::Status status = Look();
    if (!status.ok() && !std::exchange(failed, true)) {
      kLog.Warning("quotas cannot be read; the last ones hold", {{"exception", status}});
    }
    if (status.ok()) failed = false;
    lock.lock();
  }
}

}  // namespace weft::gateway
