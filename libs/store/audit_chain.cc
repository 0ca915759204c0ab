#include "libs/store/audit_chain.h"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <nlohmann/json.hpp>

#include "libs/base/ids.h"
#include "libs/base/status.h"

namespace weft::store {
namespace {

constexpr size_t kMaxFaults = 100;

void Append(std::string& out, std::string_view field) {
  const uint64_t size = field.size();
  for (int shift = 56; shift >= 0; shift -= 8) out.push_back(static_cast<char>(size >> shift));
  out += field;
}
void Append(std::string& out, int64_t number) { Append(out, std::to_string(number)); }

std::string Sha256(std::string_view bytes) {
  std::string hash(32, '\0');
  unsigned int size = 0;
  WEFT_CHECK(EVP_Digest(bytes.data(), bytes.size(), reinterpret_cast<unsigned char*>(hash.data()),
                        &size, EVP_sha256(), nullptr) == 1);
  return hash;
}

std::string HexOf(std::string_view bytes) {
  return Hex({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
}

}  // namespace

std::string AuditZeroHash() { return std::string(32, '\0'); }

std::string AuditPersonalHash(const AuditRow& row) {
  std::string text;
  for (const std::string_view field :
       {std::string_view("weft.audit.personal.1"), std::string_view(row.salt),
        std::string_view(row.user_id), std::string_view(row.key_id),
        std::string_view(row.resource_id), std::string_view(row.details),
        std::string_view(row.ip_address), std::string_view(row.user_agent)}) {
    Append(text, field);
  }
  return Sha256(text);
}

std::string AuditRowHash(const AuditRow& row, std::string_view before, std::string_view key) {
  std::string text;
  Append(text, std::string_view("weft.audit.row.1"));
  Append(text, before);
  Append(text, row.tenant);
  Append(text, row.seq);
  Append(text, row.id);
  Append(text, row.at_us);
  for (const std::string& field : {row.action, row.resource_type, row.outcome, row.request_id,
                                   row.auth_method, row.personal_hash}) {
    Append(text, field);
  }
  std::string hash(32, '\0');
  unsigned int size = 0;
  WEFT_CHECK(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
                  reinterpret_cast<const unsigned char*>(text.data()), text.size(),
                  reinterpret_cast<unsigned char*>(hash.data()), &size) != nullptr);
  return hash;
}

AuditVerifier::AuditVerifier(AuditHead head, std::string key)
    : head_(std::move(head)),
      key_(std::move(key)),
      next_(head_.first_seq),
      before_(head_.first_hash) {}

void AuditVerifier::Fault(int64_t seq, std::string_view what) {
  if (faults_.size() < kMaxFaults) faults_.push_back(fmt::format("row {}: {}", seq, what));
}

void AuditVerifier::Feed(const AuditRow& row) {
  ++rows_;
  if (row.tenant != head_.tenant) Fault(row.seq, "is another tenant's");
  if (row.seq > next_) {
    Fault(next_, row.seq == next_ + 1 ? "is missing"
                                      : fmt::format("is missing, and all up to {}", row.seq - 1));
  } else if (row.seq < next_) {
    Fault(row.seq, "is there twice, or out of order");
  }
  if (row.erased) {
    erased_.insert(row.seq);
    if (!row.user_id.empty() || !row.key_id.empty() || !row.resource_id.empty() ||
        !row.ip_address.empty() || !row.user_agent.empty()) {
      Fault(row.seq, "is marked as erased, and is not empty");
    }
  } else if (AuditPersonalHash(row) != row.personal_hash) {
    Fault(row.seq, "its user, key, resource, details, address or agent was changed");
  }
  // After a gap the row's own hash says nothing of what came before; the chain goes on from it.
  if (row.seq == next_ && AuditRowHash(row, before_, key_) != row.hash) {
    Fault(row.seq, "its hash does not follow from the row before");
  }
  if (const auto it = expected_.find(row.seq); it != expected_.end()) {
    if (it->second != row.hash) Fault(row.seq, "its hash is not the one that was seen earlier");
    expected_.erase(it);
  }
  if (row.action == kAuditErase || row.action == kAuditPrune) {
    const auto details = nlohmann::json::parse(row.details, nullptr, false);
    if (row.action == kAuditErase && details.is_object() && details.contains("rows") &&
        details["rows"].is_array()) {
      for (const auto& seq : details["rows"]) {
        if (seq.is_number_integer()) declared_erased_.insert(seq.get<int64_t>());
      }
    }
    if (row.action == kAuditPrune && details.is_object() &&
        details.value("through", int64_t{0}) == head_.first_seq - 1 &&
        details.value("hash", std::string()) == HexOf(head_.first_hash)) {
      prune_declared_ = true;
    }
  }
  before_ = row.hash;
  next_ = row.seq + 1;
}

std::vector<std::string> AuditVerifier::Finish() {
  if (next_ <= head_.seq) {
    Fault(next_, head_.seq == next_ ? "is missing at the end"
                                    : fmt::format("is missing, and all up to {}", head_.seq));
  } else if (next_ - 1 > head_.seq) {
    Fault(next_ - 1, fmt::format("is behind the end that was written down, {}", head_.seq));
  } else if (before_ != head_.hash) {
    Fault(head_.seq, "its hash is not the one that was written down as the end");
  }
  if (head_.first_seq > 1 && !prune_declared_) {
    Fault(head_.first_seq, "rows before it are gone, and no row says that they were pruned");
  }
  for (const int64_t seq : erased_) {
    if (!declared_erased_.contains(seq)) Fault(seq, "is erased, and no later row says so");
  }
  for (const auto& [seq, hash] : expected_) {
    if (seq >= head_.first_seq) Fault(seq, "was seen earlier, and is gone");
  }
  return std::move(faults_);
}

}  // namespace weft::store
