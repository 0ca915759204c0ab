// How the tensors of Hugging Face checkpoints are called, and what they are in GGUF.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "libs/model/hf_config.h"

namespace weft {

// What has to be done with a tensor of a checkpoint.
enum class HfAction {
  kKeep,
  kIgnore,       // a buffer that is computed here
  kAddOne,       // a norm's weight minus one
  kSplitQkv,     // rows of q, then of k, then of v
  kSplitGateUp,  // rows of the gate, then of the up projection
  kExpert,       // one of the layer's stack
};

struct HfName {
  HfAction action = HfAction::kKeep;
  std::string gguf;      // "blk.3.attn_q.weight"; of splits the prefix "blk.3.", empty if ignored
  std::string_view end;  // "weight" or "bias"
  int32_t expert = -1;   // of kExpert
};

// Nothing for a name that the layout does not know, a layer beyond `layers` or an expert beyond
// `experts`.
std::optional<HfName> TranslateHfName(std::string_view name, HfLayout layout, int32_t layers,
                                      int32_t experts);

}  // namespace weft
