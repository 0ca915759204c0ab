// Checks a Submit before anything is spent on it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "weft/v1/scheduler.pb.h"

namespace weft::scheduler {

struct SubmitLimits {
  uint64_t max_prompt_bytes = 4u << 20;
  size_t max_messages = 2048;
  size_t max_stop_strings = 16;
  size_t max_stop_bytes = 256;
};

v1::RequestError MakeError(int grpc_code, std::string message, std::string_view field = {});
v1::RequestError MakeRetryError(int grpc_code, std::string message, int64_t retry_after_ms);

// The first thing wrong with it, naming the field; nullopt when nothing is. Does not know the
// model: ids against the vocabulary and lengths against the context are checked by
// ValidateForModel.
std::optional<v1::RequestError> ValidateSubmit(const v1::Submit& submit,
                                               const SubmitLimits& limits);

// `prompt` is tokenised by now.
std::optional<v1::RequestError> ValidateForModel(const v1::Submit& submit,
                                                 const v1::ModelInfo& model, size_t prompt_tokens);

}  // namespace weft::scheduler
