#include "libs/store/prompt_store.h"

#include <fmt/format.h>

#include "libs/base/status.h"

namespace weft::store {

absl::Status AddPrompts(Session& session, const SecretStore& secrets,
                        const std::vector<KeptPrompt>& prompts) {
  for (const KeptPrompt& prompt : prompts) {
    WEFT_RETURN_IF_ERROR(secrets.Put(session, prompt.tenant, kPromptKind, prompt.request_id,
                                     prompt.user_id, prompt.text, prompt.at));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<KeptPrompt>> ReadPrompts(Session& session, const SecretStore& secrets,
                                                    std::string_view tenant, std::string_view after,
                                                    size_t limit) {
  if (!session.scope().Covers(tenant)) return PermissionDenied("the prompts of another tenant");
  WEFT_ASSIGN_OR_RETURN(
      const Result found,
      session.Run(fmt::format("SELECT name, user_id, created_at FROM secrets WHERE tenant = $1 AND "
                              "kind = $2 AND name > $3 ORDER BY name LIMIT {}",
                              limit),
                  {tenant, kPromptKind, after}));
  std::vector<KeptPrompt> out;
  for (const Row& row : found.rows) {
    WEFT_ASSIGN_OR_RETURN(std::string text, secrets.Get(session, tenant, kPromptKind, row.Text(0)));
    out.push_back({.tenant = std::string(tenant),
                   .request_id = row.Text(0),
                   .user_id = row.Text(1),
                   .text = std::move(text),
                   .at = row.Int(2)});
  }
  return out;
}

absl::StatusOr<int64_t> PrunePrompts(Session& session, std::string_view tenant, int64_t before,
                                     size_t limit) {
  if (!session.scope().Covers(tenant)) return PermissionDenied("the prompts of another tenant");
  WEFT_ASSIGN_OR_RETURN(
      const Result result,
      session.Run(fmt::format("DELETE FROM secrets WHERE tenant = $1 AND kind = $2 AND name IN "
                              "(SELECT name FROM secrets WHERE tenant = $1 AND kind = $2 AND "
                              "created_at < $3 LIMIT {})",
                              limit),
                  {tenant, kPromptKind, before}));
  return result.changed;
}

}  // namespace weft::store
