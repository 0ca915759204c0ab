// The texts that a request brings, wherever in it they are.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "libs/scan/policy.h"
#include "services/gateway/generation_request.h"

namespace weft::gateway {

bool HasText(GenerationRequest& request);

// All of them, a newline after each.
std::string PromptText(GenerationRequest& request);

// The texts of a prompt, which are cleaned apart.
std::vector<std::string*> PromptParts(GenerationRequest& request);

// The offsets are those of PromptText.
void RedactPrompt(std::span<const scan::Finding> findings, GenerationRequest& request);

}  // namespace weft::gateway
