#include "libs/quantize/open_source.h"

#include <algorithm>
#include <filesystem>

#include "libs/base/status.h"
#include "libs/gguf/gguf_writer.h"
#include "libs/model/gguf_layout.h"
#include "libs/model/gguf_metadata.h"
#include "libs/model/gguf_source.h"
#include "libs/model/model_source.h"
#include "libs/tokenizer/huggingface.h"
#include "libs/tokenizer/model_metadata.h"

namespace weft {
namespace {

bool Contains(const std::vector<int32_t>& ids, int32_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

// As many tokens as the embedding has rows, and the ends that only config.json names.
absl::Status Complete(const ModelConfig& config, TokenizerMetadata& tokenizer) {
  const auto vocab = static_cast<size_t>(config.vocab);
  if (tokenizer.tokens.size() > vocab) {
    return InvalidArgument("the tokenizer has {} tokens, the embedding {} rows",
                           tokenizer.tokens.size(), vocab);
  }
  for (size_t i = tokenizer.tokens.size(); i < vocab; ++i) {
    tokenizer.tokens.push_back(fmt::format("[PAD{}]", i));
    tokenizer.token_type.push_back(static_cast<int32_t>(TokenKind::kUnused));
    if (!tokenizer.scores.empty()) tokenizer.scores.push_back(0);
  }
  if (!tokenizer.bos && config.bos_id >= 0) tokenizer.bos = config.bos_id;
  for (const int32_t id : config.eos_ids) {
    if (!tokenizer.eos) tokenizer.eos = id;
    if (id != *tokenizer.eos && !Contains(tokenizer.end_ids, id)) tokenizer.end_ids.push_back(id);
  }
  // The same rules under the name that other programs know Llama 3's by.
  if (tokenizer.pre == "smaug-bpe" && tokenizer.whole_pieces_first.value_or(false)) {
    tokenizer.pre = "llama-bpe";
    if (!tokenizer.add_bos) tokenizer.add_bos = false;
  }
  return absl::OkStatus();
}

absl::StatusOr<QuantizeInput> FromFolder(const std::string& folder) {
  WEFT_ASSIGN_OR_RETURN(ModelSource source, ModelSource::FromHuggingFace(folder));
  ModelConfig& config = source.config;
  QuantizeInput out;
  GgufWriter writer;
  absl::StatusOr<TokenizerMetadata> tokenizer = ReadHuggingFaceTokenizer(folder);
  std::shared_ptr<const GgufFile> tokens;
  if (tokenizer.ok()) {
    WEFT_RETURN_IF_ERROR(Complete(config, *tokenizer));
    WEFT_ASSIGN_OR_RETURN(tokens, GgufFile::FromBytes(tokenizer->ToGguf()));
    config.name = DefaultModelName(*tokens, folder);
  } else if (absl::IsNotFound(tokenizer.status())) {
    out.notes.push_back(
        fmt::format("{}: the file can be measured, not talked to", Message(tokenizer.status())));
  } else {
    return tokenizer.status();
  }
  AddGgufConfig(config, writer);
  if (tokens != nullptr) {
    for (const GgufFile::Entry& entry : tokens->entries()) writer.AddEntry(entry);
  }
  WEFT_ASSIGN_OR_RETURN(out.metadata, GgufFile::FromBytes(writer.Finish()));
  WEFT_ASSIGN_OR_RETURN(const ModelConfig found, ModelConfig::FromGguf(*out.metadata));
  WEFT_RETURN_IF_ERROR(CheckSameComputation(config, found));
  WEFT_ASSIGN_OR_RETURN(
      out.tensors, GgufLayoutSource::Create(std::move(source.tensors), config, found.rope_pairing));
  return out;
}

}  // namespace

absl::StatusOr<QuantizeInput> OpenForQuantizing(const std::string& path) {
  std::error_code not_there;  // the file's own error says more
  if (std::filesystem::is_directory(path, not_there)) {
    absl::StatusOr<QuantizeInput> input = FromFolder(path);
    if (!input.ok()) return Annotate(input.status(), path);
    return input;
  }
  QuantizeInput input;
  WEFT_ASSIGN_OR_RETURN(input.metadata, GgufFile::Open(path));
  input.tensors = std::make_shared<GgufSource>(input.metadata, /*mapped=*/true);
  return input;
}

}  // namespace weft
