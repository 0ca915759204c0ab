#include "services/worker/rank_groups.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "libs/base/status.h"
#include "libs/comm/peer_socket.h"
#include "libs/comm/socket_group.h"
#include "libs/config/cli.h"
#include "services/worker/rendezvous.h"

namespace weft::worker {
namespace {

using namespace std::chrono_literals;

// Of all ranks, of a stage's.
constexpr size_t kGroups = 2;

// What all ranks must agree on; nothing that differs between machines.
std::string Settings(const Config& config, const ModelSource& source) {
  const ModelConfig& model = source.config;
  return fmt::format(
      "version {}, tensor_parallel {}, pipeline_parallel {}, kv_type {}, max_sequences {}, "
      "token_budget {}, {} with {} layers of {} and {} bytes of tensors",
      config::Version(), config.parallel.tensor, config.parallel.pipeline, Name(config.kv_type),
      config.max_sequences, config.token_budget, model.architecture, model.layers, model.hidden,
      source.tensors->bytes());
}

absl::StatusOr<std::string> ListenAddress(const Config& config, size_t group) {
  const RendezvousOptions& meeting = config.rendezvous;
  if (meeting.address.starts_with("unix:")) {
    return fmt::format("{}.{}.{}", meeting.address, config.rank, group);
  }
  std::string host = meeting.host;
  if (host.empty()) {
    WEFT_ASSIGN_OR_RETURN(host, comm::OwnHostTowards(meeting.address));
  }
  return fmt::format("{}:0", host);
}

absl::StatusOr<RankGroups> Join(const Config& config, const std::string& settings,
                                const std::function<bool()>& stopped) {
  Attendance own{
      .rank = config.rank, .ranks = config.parallel.ranks(), .settings = settings, .addresses = {}};
  std::vector<comm::Socket> listeners;
  for (size_t group = 0; group < kGroups; ++group) {
    WEFT_ASSIGN_OR_RETURN(const std::string address, ListenAddress(config, group));
    WEFT_ASSIGN_OR_RETURN(comm::Socket socket, comm::ListenAt(address, own.ranks));
    WEFT_ASSIGN_OR_RETURN(std::string at, comm::ListeningAt(socket, address));
    listeners.push_back(std::move(socket));
    own.addresses.push_back(std::move(at));
  }
  const absl::StatusOr<Meeting> met = Meet(config.rendezvous, own, stopped);
  if (!met.ok()) return Annotate(met.status(), "worker.rendezvous");
  const Meeting& meeting = *met;
  const auto join = [&](size_t group, int first,
                        int ranks) -> absl::StatusOr<std::unique_ptr<comm::Communicator>> {
    comm::SocketOptions options;
    options.rank = config.rank - first;
    options.group_id = fmt::format("{}/{}/{}", meeting.group_id, group, first);
    options.timeout = config.hang_timeout / 2;
    options.listener = &listeners[group];
    for (int rank = first; rank < first + ranks; ++rank) {
      const std::vector<std::string>& theirs = meeting.addresses[static_cast<size_t>(rank)];
      if (theirs.size() != kGroups) {
        return Internal("rank {} has {} addresses", rank, theirs.size());
      }
      options.addresses.push_back(theirs[group]);
    }
    return comm::JoinSocketGroup(options);
  };
  RankGroups groups;
  WEFT_ASSIGN_OR_RETURN(groups.all, join(0, 0, own.ranks));
  if (config.parallel.pipeline > 1) {
    const int tensor = config.parallel.tensor;
    WEFT_ASSIGN_OR_RETURN(groups.stage, join(1, config.rank / tensor * tensor, tensor));
  }
  return groups;
}

}  // namespace

ProcessRankOptions RankOptions(const Config& config, const ModelSource& source,
                               std::function<bool()> stopped) {
  ProcessRankOptions options;
  options.group = config.parallel;
  options.rank = config.rank;
  options.heartbeat = std::clamp<std::chrono::milliseconds>(config.hang_timeout / 8, 1ms, 1s);
  options.join = [&config, settings = Settings(config, source), stopped = std::move(stopped)] {
    return Join(config, settings, stopped);
  };
  return options;
}

}  // namespace weft::worker
