// Ranks that speak over sockets, as those of several processes do: the bits of ranks in one
// process.
#include <atomic>
#include <thread>

#include "libs/base/status.h"
#include "libs/comm/socket_group.h"
#include "libs/gguf/gguf.h"
#include "libs/model/model_source.h"
#include "libs/model/parallel_model.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/model/sequence_runner.h"
#include "tests/unit/model/tiny_model.h"

namespace weft {
namespace {

// Joins a group's ranks from threads of this process.
ParallelOptions::MakeGroup OverSockets(const test::TempDir& folder) {
  return [&folder,
          groups = std::make_shared<std::atomic<int>>(0)](const comm::InProcessOptions& options)
             -> absl::StatusOr<std::vector<std::unique_ptr<comm::Communicator>>> {
    const int group = ++*groups;
    comm::SocketOptions own;
    own.group_id = fmt::format("group {}", group);
    own.timeout = options.timeout;
    for (int r = 0; r < options.size; ++r) {
      own.addresses.push_back("unix:" + folder.File(fmt::format("{}-{}", group, r)));
    }
    std::vector<std::unique_ptr<comm::Communicator>> ranks(static_cast<size_t>(options.size));
    std::vector<absl::Status> results(ranks.size());
    std::vector<std::thread> threads;
    for (size_t r = 0; r < ranks.size(); ++r) {
      threads.emplace_back([&, r] {
        comm::SocketOptions mine = own;
        mine.rank = static_cast<int>(r);
        auto joined = comm::JoinSocketGroup(mine);
        results[r] = joined.status();
        if (joined.ok()) ranks[r] = *std::move(joined);
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const absl::Status& status : results) WEFT_RETURN_IF_ERROR(status);
    return ranks;
  };
}

TEST_CASE("Three ranks in two stages over sockets have the bits of ranks in one process",
          "[model][parallel]") {
  test::TinyModel tiny;
  tiny.heads = 6, tiny.kv_heads = 3, tiny.head_dim = 32, tiny.hidden = 192, tiny.ffn = 288;
  const auto file = GgufFile::FromBytes(tiny.Bytes()).value();
  const ModelSource source = ModelSource::FromGguf(file, /*mapped=*/false).value();
  const Parallelism group = GENERATE(Parallelism{3, 1}, Parallelism{1, 2}, Parallelism{3, 2});
  CAPTURE(group.tensor, group.pipeline);
  const test::TempDir folder;
  const auto logits = [&](const ParallelOptions& parallel) {
    auto model = ParallelModel::Load(source, ModelOptions{.threads = 1}, parallel);
    INFO(ToString(model.status()));
    REQUIRE(model.ok());
    std::vector<int32_t> tokens(40);
    for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(i * 37 % 300);
    return test::LogitsInChunks(**model, tokens, 13, 32);
  };
  ParallelOptions apart{.group = group};
  apart.make_group = OverSockets(folder);
  CHECK(test::SameBits(logits(apart), logits({.group = group})));
}

}  // namespace
}  // namespace weft
