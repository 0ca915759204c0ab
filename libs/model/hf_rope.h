// Rotary positions of a config.json.
#pragma once

#include "libs/model/hf_json.h"
#include "libs/model/model_config.h"

namespace weft {

// Fills rope_dim, rope_base, rope_base_sliding and rope_scaling; head_dim and context_length must
// be set. The context grows where the scaling is what makes it longer (dynamic). Errors go to
// `reader`.
void ReadHfRope(JsonReader& reader, ModelConfig& config);

}  // namespace weft
