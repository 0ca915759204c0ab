#include "services/gateway/resource_calls.h"

#include <nlohmann/json.hpp>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/json/strict_json.h"

namespace weft::gateway {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

absl::StatusOr<const store::ResourceType*> TypeOf(const Actor& actor, const std::string& name,
                                                  bool write) {
  const store::ResourceType* type = store::FindResourceType(name);
  if (type == nullptr) {
    return WithField(InvalidArgument("type: there is no '{}'", name.substr(0, 64)), "type");
  }
  const identity::Guard guard(ResourcePermission(*type, write));
  WEFT_RETURN_IF_ERROR(identity::CheckGuard(guard, actor.principal.get()));
  return type;
}

absl::Status Put(const absl::StatusOr<ordered_json>& record, v1::Resource& out) {
  if (record.ok()) {
    out.set_json(record->dump(-1, ' ', false, ordered_json::error_handler_t::replace));
  }
  return record.status();
}

absl::StatusOr<json> Body(const std::string& text) {
  auto body = ParseStrictJson(text);
  if (!body.ok()) return WithField(Annotate(body.status(), "json"), "json");
  return body;
}

size_t LimitOf(uint32_t limit) { return limit == 0 ? 100 : limit; }

}  // namespace

absl::Status Handle(ResourceAdmin& admin, const Actor& actor, const v1::CreateResourceRequest& in,
                    v1::Resource& out) {
  WEFT_ASSIGN_OR_RETURN(const auto* type, TypeOf(actor, in.type(), true));
  WEFT_ASSIGN_OR_RETURN(json body, Body(in.json()));
  return Put(admin.Create(actor, *type, in.tenant(), std::move(body)), out);
}

absl::Status Handle(ResourceAdmin& admin, const Actor& actor, const v1::GetResourceRequest& in,
                    v1::Resource& out) {
  WEFT_ASSIGN_OR_RETURN(const auto* type, TypeOf(actor, in.type(), false));
  return Put(admin.Get(actor, *type, in.tenant(), in.id()), out);
}

absl::Status Handle(ResourceAdmin& admin, const Actor& actor, const v1::ListResourcesRequest& in,
                    v1::ListResourcesResponse& out) {
  WEFT_ASSIGN_OR_RETURN(const auto* type, TypeOf(actor, in.type(), false));
  WEFT_ASSIGN_OR_RETURN(const ordered_json list,
                        admin.List(actor, *type, in.tenant(), in.after(), LimitOf(in.limit())));
  for (const ordered_json& record : list["data"]) {
    WEFT_RETURN_IF_ERROR(Put(record, *out.add_resources()));
  }
  out.set_has_more(list["has_more"].get<bool>());
  return absl::OkStatus();
}

absl::Status Handle(ResourceAdmin& admin, const Actor& actor, const v1::UpdateResourceRequest& in,
                    v1::Resource& out) {
  WEFT_ASSIGN_OR_RETURN(const auto* type, TypeOf(actor, in.type(), true));
  WEFT_ASSIGN_OR_RETURN(json patch, Body(in.json()));
  return Put(admin.Update(actor, *type, in.tenant(), in.id(), std::move(patch)), out);
}

absl::Status Handle(ResourceAdmin& admin, const Actor& actor, const v1::DeleteResourceRequest& in,
                    v1::DeleteResourceResponse&) {
  WEFT_ASSIGN_OR_RETURN(const auto* type, TypeOf(actor, in.type(), true));
  return admin.Remove(actor, *type, in.tenant(), in.id());
}

absl::Status Handle(ResourceAdmin& admin, const Actor& actor, const v1::GetUsageRequest& in,
                    v1::GetUsageResponse& out) {
  store::UsageFilter filter;
  filter.from_day = in.from_day();
  filter.until_day = in.until_day();
  filter.group_by.assign(in.group_by().begin(), in.group_by().end());
  filter.project = in.project();
  filter.user_id = in.user_id();
  filter.key_id = in.key_id();
  filter.model = in.model();
  WEFT_ASSIGN_OR_RETURN(const ordered_json list, admin.Usage(actor, in.tenant(), filter));
  for (const ordered_json& row : list["data"]) {
    v1::UsageSum& sum = *out.add_sums();
    for (const std::string& name : filter.group_by) sum.add_group(row[name].get<std::string>());
    sum.set_requests(row["requests"].get<int64_t>());
    sum.set_prompt_tokens(row["prompt_tokens"].get<int64_t>());
    sum.set_cached_prompt_tokens(row["cached_prompt_tokens"].get<int64_t>());
    sum.set_completion_tokens(row["completion_tokens"].get<int64_t>());
    sum.set_cost_micros(row["cost_micros"].get<int64_t>());
  }
  return absl::OkStatus();
}

absl::Status Handle(ResourceAdmin& admin, const Actor& actor, const v1::ListAuditRequest& in,
                    v1::ListAuditResponse& out) {
  store::AuditFilter filter;
  filter.after_seq = in.after_seq();
  filter.limit = LimitOf(in.limit());
  filter.newest_first = in.newest_first();
  filter.user_id = in.user_id();
  filter.action = in.action();
  filter.resource_type = in.resource_type();
  filter.resource_id = in.resource_id();
  filter.from_us = in.from_us();
  filter.until_us = in.until_us();
  WEFT_ASSIGN_OR_RETURN(const ordered_json list, admin.Audit(actor, in.tenant(), filter));
  for (const ordered_json& row : list["data"]) {
    WEFT_RETURN_IF_ERROR(Put(row, *out.add_rows()));
  }
  out.set_has_more(list["has_more"].get<bool>());
  return absl::OkStatus();
}

absl::Status Handle(ResourceAdmin& admin, const Actor& actor, const v1::VerifyAuditRequest& in,
                    v1::VerifyAuditResponse& out) {
  WEFT_ASSIGN_OR_RETURN(const ordered_json report,
                        admin.VerifyAudit(actor, in.tenant(), in.seen()));
  for (const ordered_json& row : report["data"]) {
    v1::AuditChainReport& chain = *out.add_chains();
    chain.set_tenant(row["tenant"].get<std::string>());
    chain.set_rows(row["rows"].get<int64_t>());
    chain.set_erased(row["erased"].get<int64_t>());
    chain.set_head(row["head"].get<std::string>());
    for (const ordered_json& fault : row["faults"]) chain.add_faults(fault.get<std::string>());
  }
  return absl::OkStatus();
}

}  // namespace weft::gateway
