// Who may use and see which model.
#pragma once

#include <absl/status/status.h>

#include <string_view>
#include <vector>

#include "services/gateway/actor.h"
#include "services/gateway/generation_request.h"
#include "services/gateway/scheduler_client.h"

namespace weft::gateway {

// Fills a model's name that the client left out with the first one that the caller may use, and
// checks one that was given. Every use is noted in the audit, refused ones too. UNAVAILABLE when no
// model is known yet; NOT_FOUND, as for a model that is not there, for one that the caller may not
// use.
absl::Status AuthorizeModel(identity::AuditSink& audit, const Actor& actor, WallTime now,
                            const SchedulerClient& scheduler, std::string& model);

// The models that the principal may see; all without one.
std::vector<v1::ModelInfo> VisibleModels(const SchedulerClient& scheduler,
                                         const identity::Principal* principal);

}  // namespace weft::gateway
