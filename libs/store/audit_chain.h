// The chain of hashes over the audit: what a row commits to, and what a reader can find out.
//
//   personal = SHA-256("weft.audit.personal.1", salt, user_id, key_id, resource_id, details,
//                      ip_address, user_agent)
//   hash     = H("weft.audit.row.1", hash of the row before, tenant, seq, id, time, action,
//                resource_type, outcome, request_id, auth_method, personal)
//
// Every field is preceded by its length (8 bytes, big-endian). H is HMAC-SHA-256 under the
// gateway's audit key, so that who can write the database cannot make a chain anew; with an empty
// key it is a plain check. The hash of the row before the first is 32 zeros.
//
// A person's data can be erased without breaking the chain: the six fields and the salt go, the
// hash of them stays, and an erasure row says which rows it took. Old rows can be pruned: a prune
// row says up to where, and with which hash.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace weft::store {

inline constexpr std::string_view kAuditErase = "audit:erase";
inline constexpr std::string_view kAuditPrune = "audit:prune";

struct AuditRow {
  std::string tenant;  // empty: of the gateway itself
  int64_t seq = 0;     // from 1, without gaps
  std::string id;      // unique; the same event written twice is there once
  int64_t at_us = 0;   // Unix microseconds
  std::string user_id;
  std::string key_id;
  std::string auth_method;
  std::string action;
  std::string resource_type;
  std::string resource_id;
  std::string outcome;
  std::string request_id;
  std::string details = "{}";  // a JSON object
  std::string ip_address;
  std::string user_agent;
  std::string salt;           // 16 bytes
  std::string personal_hash;  // 32 bytes, as hash
  std::string hash;
  bool erased = false;
};

struct AuditHead {
  std::string tenant;
  int64_t seq = 0;
  std::string hash;
  int64_t first_seq = 1;
  std::string first_hash;  // of the row before the first that is kept
};

std::string AuditZeroHash();
std::string AuditPersonalHash(const AuditRow& row);
std::string AuditRowHash(const AuditRow& row, std::string_view before, std::string_view key);

// Reads one tenant's rows in the order of seq and collects what is wrong with them.
class AuditVerifier {
 public:
  AuditVerifier(AuditHead head, std::string key);

  // A row that a reader saw earlier: it must still be there with this hash.
  void Expect(int64_t seq, std::string hash) { expected_[seq] = std::move(hash); }
  void Feed(const AuditRow& row);
  // The faults, in words, with the seq of each; empty: the chain is whole. At most 100.
  std::vector<std::string> Finish();
  int64_t rows() const { return rows_; }
  int64_t erased() const { return static_cast<int64_t>(erased_.size()); }

 private:
  void Fault(int64_t seq, std::string_view what);

  const AuditHead head_;
  const std::string key_;
  int64_t next_;
  std::string before_;
  int64_t rows_ = 0;
  std::set<int64_t> erased_;
  std::set<int64_t> declared_erased_;
  bool prune_declared_ = false;
  std::map<int64_t, std::string> expected_;
  std::vector<std::string> faults_;
};

}  // namespace weft::store
