// OTLP out, over gRPC.
#pragma once

#include <absl/status/statusor.h>

#include <memory>

#include "libs/rpc/channel.h"
#include "libs/spans/stage.h"

namespace weft::collector {

absl::StatusOr<std::unique_ptr<spans::Sender>> MakeOtlpSender(const rpc::ChannelOptions& options);

}  // namespace weft::collector
