// The groups of a process that is one rank of a worker: addresses are exchanged at the rendezvous,
// then every two ranks connect.
#pragma once

#include <absl/status/statusor.h>

#include <functional>

#include "libs/model/process_model.h"
#include "services/worker/config.h"

namespace weft::worker {

// How this process is a rank of `config`'s model, which `source` holds. Its join() blocks until all
// ranks have come, or `stopped` says so.
ProcessRankOptions RankOptions(const Config& config, const ModelSource& source,
                               std::function<bool()> stopped);

}  // namespace weft::worker
