#include "services/gateway/model_gate.h"

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/identity/api_key.h"
#include "services/gateway/api_error.h"

namespace weft::gateway {

std::vector<v1::ModelInfo> VisibleModels(const SchedulerClient& scheduler,
                                         const identity::Principal* principal) {
  std::vector<v1::ModelInfo> models = scheduler.Models();
  if (principal == nullptr || principal->models.unrestricted()) return models;
  std::erase_if(models, [principal](const v1::ModelInfo& model) {
    return !principal->models.Allows(model.id());
  });
  return models;
}

absl::Status AuthorizeModel(identity::AuditSink& audit, const Actor& actor, WallTime now,
                            const SchedulerClient& scheduler, std::string& model) {
  if (model.empty()) {
    const auto models = VisibleModels(scheduler, actor.principal.get());
    if (models.empty() && scheduler.Models().empty()) {
      return WithRetryAfter(Unavailable("No model is loaded at the moment. Please try again."),
                            std::chrono::seconds(1));
    }
    if (models.empty()) return ModelNotFound("default");
    model = models.front().id();
  }
  // A key that was sent as a model by mistake must not go on into logs, metrics and spans.
  std::string shown = identity::RedactSecrets(model);
  const bool secret = shown != model;
  if (secret) model = std::move(shown);
  const bool allowed =
      !secret && (actor.principal == nullptr || actor.principal->models.Allows(model));
  audit.Note(AuditOf(actor, now, "models:use", "model", model, allowed ? "ok" : "denied"));
  return allowed ? absl::OkStatus() : ModelNotFound(model);
}

}  // namespace weft::gateway
