// The tokenizer of a Hugging Face model folder, as the GGUF metadata that Tokenizer::FromGguf
// reads: one form for every tokenizer, which a worker ships and the mesh knows by its hash.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <string_view>

#include "libs/tokenizer/tokenizer_metadata.h"

namespace weft {

// Reads tokenizer.json or, without it, tokenizer.model; and, where they are there,
// tokenizer_config.json, special_tokens_map.json, chat_template.jinja and the end tokens of
// generation_config.json. NOT_FOUND when the folder has no tokenizer; INVALID_ARGUMENT and
// UNIMPLEMENTED name the file and the JSON path or the offset.
absl::StatusOr<TokenizerMetadata> ReadHuggingFaceTokenizer(const std::string& folder);

// The same as the bytes of a GGUF file without tensors.
absl::StatusOr<std::string> GgufMetadataFromHuggingFace(const std::string& folder);

// The same from the text of a tokenizer.json alone, which may be hostile: memory and time are
// linear in its size.
absl::StatusOr<TokenizerMetadata> ReadTokenizerJson(std::string_view json);

// The same from a SentencePiece model, a protobuf message (sentencepiece_model.proto of the
// SentencePiece project).
absl::StatusOr<TokenizerMetadata> ReadSentencePieceModel(std::string_view bytes);

}  // namespace weft
