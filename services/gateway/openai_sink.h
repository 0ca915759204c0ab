// Turns a generation into OpenAI's answer: server-sent events or one JSON object.
#pragma once

#include <memory>

#include "services/gateway/call.h"
#include "services/gateway/generation.h"

namespace weft::gateway {

// What any streamed answer begins with, and what it says when no stream is left.
http::Response EventStreamHead(const Totals& so_far);
http::Response TooManyStreams();

// For chat and completions. `abandoned` is set when the answer could not begin: the generation must
// then be cancelled by its owner.
std::unique_ptr<GenerationSink> NewOpenAiSink(const Call& call, const GenerationRequest& request,
                                              int64_t created,
                                              std::shared_ptr<std::atomic<bool>> abandoned);
// For /generate and /predict.
std::unique_ptr<GenerationSink> NewGenerateSink(const Call& call);
std::unique_ptr<GenerationSink> NewPredictSink(const Call& call);

}  // namespace weft::gateway
