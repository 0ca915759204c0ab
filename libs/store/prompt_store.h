// Prompts and answers that a tenant asked to be kept, sealed (sealer.h), as secrets of the kind
// "prompt" under their request's id.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "libs/store/sealer.h"

namespace weft::store {

inline constexpr std::string_view kPromptKind = "prompt";

struct KeptPrompt {
  std::string tenant;
  std::string request_id;
  std::string user_id;  // whose, as rows of usage name them; for export and erasure
  std::string text;     // a JSON object
  int64_t at = 0;       // Unix seconds
};

// Each once, however often it is written.
absl::Status AddPrompts(Session& session, const SecretStore& secrets,
                        const std::vector<KeptPrompt>& prompts);
// In the order of their requests' ids, behind `after`; at most `limit`.
absl::StatusOr<std::vector<KeptPrompt>> ReadPrompts(Session& session, const SecretStore& secrets,
                                                    std::string_view tenant, std::string_view after,
                                                    size_t limit);
// At most `limit`; returns how many went.
absl::StatusOr<int64_t> PrunePrompts(Session& session, std::string_view tenant, int64_t before,
                                     size_t limit);

}  // namespace weft::store
