// Renders templates and tokenises, on a few threads.
#pragma once

#include <functional>
#include <memory>

#include "libs/base/thread_pool.h"
#include "services/scheduler/ports.h"
#include "services/scheduler/tokenizer_store.h"

namespace weft::scheduler {

// Called on the dispatcher's thread; answers come on the pool's threads.
class PromptPreparer final : public Preparer {
 public:
  using Done = std::function<void(uint64_t request, Prepared prepared)>;

  PromptPreparer(TokenizerStore& store, size_t threads, size_t queue, Done done);

  bool HasTokenizer(const v1::ModelInfo& model) const override;
  bool Prepare(uint64_t request, std::shared_ptr<const v1::Submit> submit,
               const v1::ModelInfo& model) override;

  // The same pool for other work on prompts. False when too much waits.
  bool TryRun(std::function<void()> task) { return pool_.TrySubmit(std::move(task)); }

 private:
  TokenizerStore& store_;
  const Done done_;
  ThreadPool pool_;  // last: its threads use what is above
};

// Thread safe, blocks for as long as tokenising takes. Exposed for tests.
Prepared PreparePrompt(const LoadedTokenizer& tokenizer, const v1::Submit& submit,
                       const v1::ModelInfo& model);

}  // namespace weft::scheduler
