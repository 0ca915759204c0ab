#include "services/gateway/refusal_audit.h"

#include <nlohmann/json.hpp>

#include "libs/identity/api_key.h"
#include "libs/limits/address_key.h"

namespace weft::gateway {
namespace {

constexpr std::string_view kAction = "access:refuse";
constexpr size_t kMostPath = 200;

std::string Text(const nlohmann::ordered_json& details) {
  return details.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace

RefusalAudit::RefusalAudit(identity::AuditSink& sink, RefusalAuditOptions options, Clock& clock)
    : sink_(sink),
      options_(options),
      clock_(clock),
      interval_end_(clock.Now() + options.interval) {}

RefusalAudit::~RefusalAudit() {
  std::lock_guard lock(mutex_);
  FlushLocked(clock_.Wall());
}

void RefusalAudit::Note(const Refused& refused) {
  if (options_.most == 0) return;
  const WallTime now = clock_.Wall();
  Party party{.address = limits::AddressKey(refused.address),
              .tenant = refused.principal != nullptr ? refused.principal->tenant : std::string(),
              .key_id = refused.principal != nullptr ? refused.principal->key_id : std::string(),
              .reason = std::string(refused.reason)};
  std::lock_guard lock(mutex_);
  auto found = parties_.find(party);
  if (found == parties_.end() && parties_.size() >= options_.most) {
    if (others_.more++ == 0) others_.first = now;
    others_.last = now;
    return;
  }
  if (found != parties_.end()) {
    Count& count = found->second;
    if (count.more++ == 0) count.first = now;
    count.last = now;
    return;
  }
  parties_.emplace(std::move(party), Count());
  identity::AuditEvent event = identity::AuditOf(refused.principal, now);
  event.action = kAction;
  event.resource_type = "endpoint";
  const std::string_view path = refused.target.substr(0, refused.target.find('?'));
  // A key that was put into the path does not get into the audit.
  event.resource_id = identity::RedactSecrets(std::string(refused.method) + " " +
                                              std::string(path.substr(0, kMostPath)));
  event.outcome = "denied";
  event.request_id = refused.request_id;
  event.ip_address = refused.address;
  event.details = Text({{"reason", refused.reason}});
  sink_.Note(std::move(event));
}

void RefusalAudit::Tick() {
  std::lock_guard lock(mutex_);
  if (clock_.Now() < interval_end_) return;
  interval_end_ = clock_.Now() + options_.interval;
  FlushLocked(clock_.Wall());
}

void RefusalAudit::FlushLocked(WallTime now) {
  for (const auto& [party, count] : parties_) {
    if (count.more > 0) WriteLocked(party, count, now);
  }
  if (others_.more > 0)
    WriteLocked({.address = {}, .tenant = {}, .key_id = {}, .reason = "others"}, others_, now);
  parties_.clear();
  others_ = Count();
}

void RefusalAudit::WriteLocked(const Party& party, const Count& count, WallTime now) {
  identity::AuditEvent event;
  event.at = now;
  event.tenant = party.tenant;
  event.key_id = party.key_id;
  event.action = kAction;
  event.resource_type = "endpoint";
  event.outcome = "denied";
  event.ip_address = party.address;
  event.details = Text({{"reason", party.reason},
                        {"count", count.more},
                        {"first_us", UnixNanos(count.first) / 1000},
                        {"last_us", UnixNanos(count.last) / 1000}});
  sink_.Note(std::move(event));
}

}  // namespace weft::gateway
