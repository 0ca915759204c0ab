// The answer of /infill, in the shape of llama.cpp's server.
#pragma once

#include <atomic>
#include <memory>

#include "services/gateway/call.h"
#include "services/gateway/generation.h"

namespace weft::gateway {

// Whole, or as server-sent events when the request asks for a stream. One object; an array of them
// when several answers were asked for.
std::unique_ptr<GenerationSink> NewInfillSink(const Call& call, const GenerationRequest& request,
                                              std::shared_ptr<std::atomic<bool>> abandoned);

}  // namespace weft::gateway
