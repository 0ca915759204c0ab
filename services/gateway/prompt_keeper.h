// Keeps prompts and answers of tenants that asked for it, sealed.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "libs/base/clock.h"
#include "libs/identity/principal.h"
#include "libs/store/batch_writer.h"
#include "libs/store/prompt_store.h"
#include "services/gateway/generation.h"
#include "services/gateway/tenant_policy.h"

namespace weft::gateway {

struct PromptConfig {
  int64_t days = 0;  // of tenants that chose nothing; 0: not kept
  uint64_t max_bytes = 256 << 10;
};

// Thread safe. They are written a moment after the answer; up to 512 wait in memory while the
// database is away, and what is beyond that, or is lost with the process, is not kept.
class PromptKeeper {
 public:
  // `secrets` and `policies` outlive it.
  PromptKeeper(std::shared_ptr<store::Database> database, const store::SecretStore& secrets,
               const FollowedPolicies& policies, PromptConfig config, Clock& clock = Clock::Real());

  // How long prompts of a tenant are kept; 0: they are not.
  int64_t DaysOf(std::string_view tenant) const;

  struct Origin {
    const identity::Principal* principal = nullptr;
    std::string_view request_id;
    std::string_view endpoint;
  };
  // The sink itself, or one before it that keeps what passes. The prompt is as the client sent it.
  std::unique_ptr<GenerationSink> Watch(std::unique_ptr<GenerationSink> sink, const Origin& origin,
                                        const GenerationRequest& request);

 private:
  class Sink;

  const std::shared_ptr<store::Database> database_;
  const store::SecretStore& secrets_;
  const FollowedPolicies& policies_;
  const PromptConfig config_;
  Clock& clock_;
  store::BatchWriter<store::KeptPrompt> writer_;
};

}  // namespace weft::gateway
