// What a model is: read from a GGUF file's metadata and checked.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace weft {

class GgufFile;

// Which elements of a head rotate together: GGUF's "llama" files are permuted so that neighbours
// (2i, 2i+1) do; others rotate (i, i + rope_dim / 2).
enum class RopePairing { kNeighbours, kHalves };

struct ModelConfig {
  std::string architecture;  // general.architecture, "llama"
  std::string name;          // general.name, may be empty
  int32_t layers = 0;
  int32_t heads = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
  int32_t hidden = 0;
  int32_t ffn = 0;
  int32_t vocab = 0;
  int32_t context_length = 0;
  float rms_eps = 0;
  RopePairing rope_pairing = RopePairing::kNeighbours;
  int32_t rope_dim = 0;     // leading elements of a head that rotate
  float rope_base = 10000;  // theta
  float rope_scale = 1;     // positions are divided by this (linear scaling)
  bool tied_embeddings = false;
  int32_t bos_id = -1;           // -1: none
  std::vector<int32_t> eos_ids;  // end-of-sequence ids the metadata names (the tokenizer adds more)

  // Bounds of every field, and the relations between them. The error names the GGUF key.
  absl::Status Validate() const;

  // Reads `<arch>.*` and `general.*`. Unsupported architectures, rope scaling kinds and experts are
  // kUnimplemented; missing or hostile values are kInvalidArgument naming the key.
  static absl::StatusOr<ModelConfig> FromGguf(const GgufFile& file);
};

}  // namespace weft
