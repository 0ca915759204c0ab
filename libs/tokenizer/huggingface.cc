#include "libs/tokenizer/huggingface.h"

#include <absl/strings/numbers.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "libs/base/mapped_file.h"
#include "libs/base/status.h"
#include "libs/json/strict_json.h"
#include "libs/tokenizer/tokenizer_json_steps.h"

namespace weft {
namespace {

using nlohmann::json;
using tokenizer_json::Field;

constexpr size_t kMaxTokenizerBytes = 1u << 28;
constexpr size_t kMaxConfigBytes = 1u << 24;
constexpr size_t kMaxAddedIds = 1u << 16;

class Folder {
 public:
  explicit Folder(const std::string& path) : path_(path) {}

  absl::StatusOr<TokenizerMetadata> Read() {
    if (Exists("tokenizer.json")) {
      WEFT_RETURN_IF_ERROR(Load("tokenizer.json", ReadTokenizerJson));
    } else if (Exists("tokenizer.model")) {
      WEFT_RETURN_IF_ERROR(Load("tokenizer.model", ReadSentencePieceModel));
      WEFT_RETURN_IF_ERROR(ReadAddedTokens());
    } else {
      return NotFound("'{}' has neither tokenizer.json nor tokenizer.model", path_);
    }
    for (size_t i = 0; i < out_.tokens.size(); ++i) {
      ids_.emplace(out_.tokens[i], static_cast<int32_t>(i));
    }
    WEFT_RETURN_IF_ERROR(ReadConfig("special_tokens_map.json"));
    WEFT_RETURN_IF_ERROR(ReadConfig("tokenizer_config.json"));
    WEFT_RETURN_IF_ERROR(ReadEnds());
    if (Exists("chat_template.jinja")) {
      WEFT_ASSIGN_OR_RETURN(const MappedFile file, Map("chat_template.jinja", kMaxConfigBytes));
      out_.chat_template = std::string(file.contents());
    }
    return std::move(out_);
  }

 private:
  std::string PathOf(const char* name) const {
    return (std::filesystem::path(path_) / name).string();
  }
  bool Exists(const char* name) const {
    std::error_code error;
    return std::filesystem::exists(PathOf(name), error);
  }

  absl::StatusOr<MappedFile> Map(const char* name, size_t max_bytes) const {
    WEFT_ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(PathOf(name), "tokenizer file"));
    if (file.contents().size() > max_bytes) {
      return InvalidArgument("'{}' has {} bytes: at most {}", PathOf(name), file.contents().size(),
                             max_bytes);
    }
    return file;
  }

  absl::Status Load(const char* name, absl::StatusOr<TokenizerMetadata> (*read)(std::string_view)) {
    WEFT_ASSIGN_OR_RETURN(const MappedFile file, Map(name, kMaxTokenizerBytes));
    absl::StatusOr<TokenizerMetadata> metadata = read(file.contents());
    if (!metadata.ok()) return Annotate(metadata.status(), PathOf(name));
    out_ = *std::move(metadata);
    return absl::OkStatus();
  }

  absl::StatusOr<json> Parse(const char* name) const {
    WEFT_ASSIGN_OR_RETURN(const MappedFile file, Map(name, kMaxConfigBytes));
    absl::StatusOr<json> root = ParseStrictJson(file.contents());
    if (root.ok() && !root->is_object()) root = InvalidArgument("it is not a JSON object");
    if (!root.ok()) return Annotate(root.status(), PathOf(name));
    return root;
  }

  // added_tokens_decoder of tokenizer_config.json, by id: what tokenizer.model does not hold.
  // (A tokenizer.json has the same list itself.)
  absl::Status ReadAddedTokens() {
    if (!Exists("tokenizer_config.json")) return absl::OkStatus();
    WEFT_ASSIGN_OR_RETURN(const json root, Parse("tokenizer_config.json"));
    const json* added = Field(root, "added_tokens_decoder");
    if (added == nullptr) return absl::OkStatus();
    if (!added->is_object()) return InvalidArgument("added_tokens_decoder must be an object");
    const size_t limit = out_.tokens.size() + kMaxAddedIds;
    for (const auto& [key, token] : added->items()) {
      const std::string path = fmt::format("added_tokens_decoder['{}']", key);
      uint32_t id = 0;
      if (!absl::SimpleAtoi(key, &id) || id >= limit) {
        return InvalidArgument("{}: '{}' must be a number below {}",
                               PathOf("tokenizer_config.json"), path, limit);
      }
      std::string content;
      bool special = false;
      bool left = false;
      bool right = false;
      WEFT_RETURN_IF_ERROR(tokenizer_json::ReadText(token, path, "content", content));
      WEFT_RETURN_IF_ERROR(tokenizer_json::ReadFlag(token, path, "special", special));
      WEFT_RETURN_IF_ERROR(tokenizer_json::ReadFlag(token, path, "lstrip", left));
      WEFT_RETURN_IF_ERROR(tokenizer_json::ReadFlag(token, path, "rstrip", right));
      if (content.empty()) return InvalidArgument("{}.content is empty", path);
      for (size_t i = out_.tokens.size(); i <= id; ++i) {
        out_.tokens.push_back(fmt::format("[PAD{}]", i));
        out_.token_type.push_back(static_cast<int32_t>(TokenKind::kUnused));
        out_.scores.push_back(0);
      }
      int32_t& kind = out_.token_type[id];
      out_.tokens[id] = content;
      if (kind != static_cast<int32_t>(TokenKind::kUnknown)) {
        kind = static_cast<int32_t>(special ? TokenKind::kControl : TokenKind::kUserDefined);
      }
      if (left) out_.strip_left.push_back(static_cast<int32_t>(id));
      if (right) out_.strip_right.push_back(static_cast<int32_t>(id));
    }
    return absl::OkStatus();
  }

  // A token is written as its text or as an object with its text as "content".
  absl::Status ReadToken(const json& root, const char* name, std::optional<int32_t>& id) {
    const json* field = Field(root, name);
    if (field != nullptr && field->is_object()) field = Field(*field, "content");
    if (field == nullptr) return absl::OkStatus();
    if (!field->is_string()) return InvalidArgument("{} must be a token", name);
    const auto it = ids_.find(field->get<std::string>());
    if (it == ids_.end()) {
      return InvalidArgument("{} '{}' is not in the vocabulary", name, field->get<std::string>());
    }
    id = it->second;
    // An added token that the configuration names so is a control token.
    int32_t& kind = out_.token_type[static_cast<size_t>(*id)];
    if (kind == static_cast<int32_t>(TokenKind::kUserDefined)) {
      kind = static_cast<int32_t>(TokenKind::kControl);
    }
    return absl::OkStatus();
  }

  absl::Status ReadConfig(const char* name) {
    if (!Exists(name)) return absl::OkStatus();
    WEFT_ASSIGN_OR_RETURN(const json root, Parse(name));
    absl::Status status = ReadConfig(root);
    return status.ok() ? status : Annotate(status, PathOf(name));
  }

  absl::Status ReadConfig(const json& root) {
    WEFT_RETURN_IF_ERROR(ReadToken(root, "bos_token", out_.bos));
    WEFT_RETURN_IF_ERROR(ReadToken(root, "eos_token", out_.eos));
    WEFT_RETURN_IF_ERROR(ReadToken(root, "pad_token", out_.padding));
    for (const auto& [name, flag] :
         {std::pair("add_bos_token", &out_.add_bos), std::pair("add_eos_token", &out_.add_eos)}) {
      if (Field(root, name) == nullptr) continue;
      bool value = false;
      WEFT_RETURN_IF_ERROR(tokenizer_json::ReadFlag(root, "$", name, value));
      *flag = value;
    }
    const json* chat = Field(root, "chat_template");
    if (chat == nullptr) return absl::OkStatus();
    if (chat->is_string()) {
      out_.chat_template = chat->get<std::string>();
      return absl::OkStatus();
    }
    if (!chat->is_array()) return InvalidArgument("chat_template must be a string or an array");
    for (size_t i = 0; i < chat->size(); ++i) {
      const std::string path = fmt::format("chat_template[{}]", i);
      std::string name;
      std::string text;
      WEFT_RETURN_IF_ERROR(tokenizer_json::ReadText((*chat)[i], path, "name", name));
      WEFT_RETURN_IF_ERROR(tokenizer_json::ReadText((*chat)[i], path, "template", text));
      if (name == "default" || out_.chat_template.empty()) out_.chat_template = text;
    }
    return absl::OkStatus();
  }

  // eos_token_id: a number or several.
  absl::Status ReadEnds() {
    if (!Exists("generation_config.json")) return absl::OkStatus();
    WEFT_ASSIGN_OR_RETURN(const json root, Parse("generation_config.json"));
    const json* field = Field(root, "eos_token_id");
    if (field == nullptr) return absl::OkStatus();
    const json list = field->is_array() ? *field : json::array({*field});
    for (const json& id : list) {
      if (!id.is_number_unsigned() || id >= out_.tokens.size()) {
        return InvalidArgument("{}: eos_token_id must hold numbers of tokens",
                               PathOf("generation_config.json"));
      }
      out_.end_ids.push_back(id.get<int32_t>());
    }
    return absl::OkStatus();
  }

  const std::string& path_;
  TokenizerMetadata out_;
  std::map<std::string, int32_t, std::less<>> ids_;
};

}  // namespace

absl::StatusOr<TokenizerMetadata> ReadHuggingFaceTokenizer(const std::string& folder) {
  return Folder(folder).Read();
}

absl::StatusOr<std::string> GgufMetadataFromHuggingFace(const std::string& folder) {
  WEFT_ASSIGN_OR_RETURN(const TokenizerMetadata metadata, ReadHuggingFaceTokenizer(folder));
  return metadata.ToGguf();
}

}  // namespace weft
