// Reads tokenizer.json, the file of Hugging Face's `tokenizers` library.
#include <algorithm>
#include <cstdio>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "libs/base/status.h"
#include "libs/json/strict_json.h"
#include "libs/tokenizer/huggingface.h"
#include "libs/tokenizer/tokenizer_json_steps.h"

namespace weft {
namespace {

using nlohmann::json;
using tokenizer_json::Field;
using tokenizer_json::ReadFlag;
using tokenizer_json::ReadText;
using tokenizer_json::Steps;

// 256K tokens and 600K merges are 2.3 million values.
constexpr JsonLimits kLimits = {.depth = 64, .values = 1u << 24};
constexpr size_t kMaxTokens = 1u << 22;
// Ids may skip some, but a small file must not make a large vocabulary.
constexpr size_t kMaxHoles = 1u << 16;

class Reader {
 public:
  explicit Reader(const json& root) : root_(root) {}

  absl::StatusOr<TokenizerMetadata> Run() {
    if (!root_.is_object()) return InvalidArgument("it is not a JSON object");
    const json* model = Field(root_, "model");
    if (model == nullptr || !model->is_object()) {
      return InvalidArgument("model: it must be an object");
    }
    for (const json* list : {Field(*model, "vocab"), Field(root_, "added_tokens")}) {
      if (list != nullptr) max_id_ = std::min(max_id_ + 2 * list->size(), kMaxTokens);
    }
    std::string type = "BPE";  // what old files that do not say hold
    WEFT_RETURN_IF_ERROR(ReadText(*model, "model", "type", type));
    WEFT_ASSIGN_OR_RETURN(steps_, tokenizer_json::ReadSteps(root_));
    if (type == "BPE") {
      WEFT_RETURN_IF_ERROR(ReadBpe(*model));
    } else if (type == "Unigram") {
      WEFT_RETURN_IF_ERROR(ReadUnigram(*model));
    } else {
      return Unimplemented("model.type '{}' is not supported, only BPE and Unigram", type);
    }
    WEFT_RETURN_IF_ERROR(ReadAddedTokens());
    WEFT_RETURN_IF_ERROR(ReadTemplate());
    FillHoles();
    return std::move(out_);
  }

 private:
  absl::Status ReadBpe(const json& model) {
    for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      std::string text;
      WEFT_RETURN_IF_ERROR(ReadText(model, "model", name, text));
      if (!text.empty()) return Unimplemented("model.{} '{}' is not supported", name, text);
    }
    if (const json* dropout = Field(model, "dropout"); dropout != nullptr && *dropout != 0.0) {
      return Unimplemented("model.dropout is not supported");
    }
    bool ignore_merges = false;
    bool byte_fallback = false;
    WEFT_RETURN_IF_ERROR(ReadFlag(model, "model", "ignore_merges", ignore_merges));
    WEFT_RETURN_IF_ERROR(ReadFlag(model, "model", "byte_fallback", byte_fallback));
    WEFT_RETURN_IF_ERROR(ReadVocabulary(model));
    WEFT_RETURN_IF_ERROR(ReadMerges(model));
    out_.normalizer = steps_.normalizer;
    if (steps_.byte_level) {
      out_.model = "gpt2";
      out_.pre = steps_.pre;
      out_.whole_pieces_first = ignore_merges;
      out_.add_bos = false;
      return absl::OkStatus();
    }
    if (ignore_merges) return Unimplemented("model.ignore_merges without a ByteLevel step");
    out_.merges_by_rank = true;
    WEFT_RETURN_IF_ERROR(ReadSpaces());
    std::string unknown;
    WEFT_RETURN_IF_ERROR(ReadText(model, "model", "unk_token", unknown));
    if (!unknown.empty()) {
      const auto it = ids_.find(unknown);
      if (it == ids_.end()) {
        return InvalidArgument("model.unk_token '{}' is not in model.vocab", unknown);
      }
      SetUnknown(it->second);
    }
    if (byte_fallback) MarkBytes();
    out_.scores.assign(out_.tokens.size(), 0.0);
    return absl::OkStatus();
  }

  absl::Status ReadUnigram(const json& model) {
    if (steps_.byte_level) {
      return Unimplemented("pre_tokenizer: ByteLevel with model.type Unigram is not supported");
    }
    const json* vocab = Field(model, "vocab");
    if (vocab == nullptr || !vocab->is_array()) {
      return InvalidArgument("model.vocab must be an array of pairs");
    }
    if (vocab->size() > kMaxTokens) return TooMany("model.vocab", vocab->size());
    for (size_t i = 0; i < vocab->size(); ++i) {
      const json& pair = (*vocab)[i];
      if (!pair.is_array() || pair.size() != 2 || !pair[0].is_string() || !pair[1].is_number()) {
        return InvalidArgument("model.vocab[{}] is not a token with its score", i);
      }
      Put(static_cast<int64_t>(i), pair[0].get<std::string>(), TokenKind::kNormal);
      out_.scores.push_back(pair[1].get<double>());
    }
    const json* unknown = Field(model, "unk_id");
    if (unknown != nullptr) {
      if (!unknown->is_number_unsigned() || *unknown >= out_.tokens.size()) {
        return InvalidArgument("model.unk_id is not the number of a token");
      }
      SetUnknown(unknown->get<int32_t>());
    }
    bool byte_fallback = false;
    WEFT_RETURN_IF_ERROR(ReadFlag(model, "model", "byte_fallback", byte_fallback));
    if (byte_fallback) MarkBytes();
    out_.normalizer = steps_.normalizer;
    out_.precompiled_charsmap = steps_.charsmap;
    out_.double_scores = true;
    WEFT_RETURN_IF_ERROR(ReadSpaces());
    out_.model = "t5";
    return absl::OkStatus();
  }

  // How spaces become U+2581, of tokenizers in SentencePiece's manner.
  absl::Status ReadSpaces() {
    if (!steps_.escapes_spaces) {
      return Unimplemented(
          "pre_tokenizer: neither ByteLevel nor Metaspace nor a normalizer that replaces spaces by "
          "U+2581");
    }
    out_.model = "llama";
    out_.add_space_prefix = !steps_.space_prefix.empty();
    out_.space_prefix = steps_.space_prefix;
    out_.remove_extra_whitespaces = false;
    out_.split_on_spaces = steps_.splits_on_spaces;
    return absl::OkStatus();
  }

  absl::Status ReadVocabulary(const json& model) {
    const json* vocab = Field(model, "vocab");
    if (vocab == nullptr || !vocab->is_object()) {
      return InvalidArgument("model.vocab must be an object");
    }
    for (const auto& [token, id] : vocab->items()) {
      if (!id.is_number_unsigned() || id.get<uint64_t>() >= max_id_) {
        return InvalidArgument("model.vocab['{}'] is not a number below {}", token, max_id_);
      }
      const auto index = id.get<int64_t>();
      if (IsTaken(index)) {
        return InvalidArgument("model.vocab: '{}' and '{}' are both {}",
                               out_.tokens[static_cast<size_t>(index)], token, index);
      }
      Put(index, token, TokenKind::kNormal);
    }
    return absl::OkStatus();
  }

  absl::Status ReadMerges(const json& model) {
    const json* merges = Field(model, "merges");
    if (merges == nullptr || !merges->is_array()) {
      return InvalidArgument("model.merges must be an array");
    }
    out_.merges.reserve(merges->size());
    for (size_t i = 0; i < merges->size(); ++i) {
      const json& merge = (*merges)[i];
      if (merge.is_string()) {
        out_.merges.push_back(merge.get<std::string>());
        continue;
      }
      if (!merge.is_array() || merge.size() != 2 || !merge[0].is_string() ||
          !merge[1].is_string()) {
        return InvalidArgument("model.merges[{}] is not a pair of tokens", i);
      }
      const auto& left = merge[0].get_ref<const std::string&>();
      const auto& right = merge[1].get_ref<const std::string&>();
      // Text holds no plain space any more when it is merged: such a merge never applies.
      if (left.find(' ') != std::string::npos || right.find(' ') != std::string::npos) continue;
      out_.merges.push_back(left + " " + right);
    }
    return absl::OkStatus();
  }

  absl::Status ReadAddedTokens() {
    const json* added = Field(root_, "added_tokens");
    if (added == nullptr) return absl::OkStatus();
    if (!added->is_array()) return InvalidArgument("added_tokens must be an array");
    for (size_t i = 0; i < added->size(); ++i) {
      const json& token = (*added)[i];
      const std::string path = fmt::format("added_tokens[{}]", i);
      if (!token.is_object()) return InvalidArgument("{} must be an object", path);
      const json* id = Field(token, "id");
      if (id == nullptr || !id->is_number_unsigned() || id->get<uint64_t>() >= max_id_) {
        return InvalidArgument("{}.id is not a number below {}", path, max_id_);
      }
      std::string content;
      WEFT_RETURN_IF_ERROR(ReadText(token, path, "content", content));
      if (content.empty()) return InvalidArgument("{}.content is empty", path);
      bool special = false;
      bool single_word = false;
      bool strips_left = false;
      bool strips_right = false;
      WEFT_RETURN_IF_ERROR(ReadFlag(token, path, "special", special));
      WEFT_RETURN_IF_ERROR(ReadFlag(token, path, "single_word", single_word));
      WEFT_RETURN_IF_ERROR(ReadFlag(token, path, "lstrip", strips_left));
      WEFT_RETURN_IF_ERROR(ReadFlag(token, path, "rstrip", strips_right));
      if (single_word) return Unimplemented("{}.single_word is not supported", path);
      const auto index = id->get<int64_t>();
      // The unknown token stays what it is: control tokens and it are both never found in text.
      const bool is_unknown = out_.unknown == static_cast<int32_t>(index);
      Put(index, content,
          is_unknown ? TokenKind::kUnknown
          : special  ? TokenKind::kControl
                     : TokenKind::kUserDefined);
      if (strips_left) out_.strip_left.push_back(static_cast<int32_t>(index));
      if (strips_right) out_.strip_right.push_back(static_cast<int32_t>(index));
    }
    return absl::OkStatus();
  }

  // post_processor: which tokens stand before and after a text.
  absl::Status ReadTemplate() {
    WEFT_ASSIGN_OR_RETURN(const tokenizer_json::Template around,
                          tokenizer_json::ReadTemplate(root_));
    const auto find = [this](const std::string& text, const char* what,
                             std::optional<int32_t>& id) -> absl::Status {
      const auto it = ids_.find(text);
      if (it == ids_.end()) {
        return InvalidArgument("post_processor: the {} '{}' is no token", what, text);
      }
      id = it->second;
      return absl::OkStatus();
    };
    if (!around.is_there) return absl::OkStatus();
    out_.add_bos = !around.before.empty();
    out_.add_eos = !around.after.empty();
    if (!around.before.empty()) {
      WEFT_RETURN_IF_ERROR(find(around.before, "token before the text", out_.bos));
    }
    if (!around.after.empty()) {
      WEFT_RETURN_IF_ERROR(find(around.after, "token after the text", out_.eos));
    }
    return absl::OkStatus();
  }

  bool IsTaken(int64_t id) const {
    return static_cast<size_t>(id) < out_.token_type.size() &&
           out_.token_type[static_cast<size_t>(id)] != 0;
  }

  void Put(int64_t id, const std::string& text, TokenKind kind) {
    const auto index = static_cast<size_t>(id);
    if (index >= out_.tokens.size()) {
      out_.tokens.resize(index + 1);
      out_.token_type.resize(index + 1);
    }
    out_.tokens[index] = text;
    out_.token_type[index] = static_cast<int32_t>(kind);
    ids_.insert_or_assign(text, static_cast<int32_t>(id));
  }

  void SetUnknown(int32_t id) {
    out_.unknown = id;
    out_.token_type[static_cast<size_t>(id)] = static_cast<int32_t>(TokenKind::kUnknown);
  }

  // <0x00> ... <0xFF> stand for bytes.
  void MarkBytes() {
    char name[8];
    for (int byte = 0; byte < 256; ++byte) {
      std::snprintf(name, sizeof(name), "<0x%02X>", static_cast<unsigned>(byte));
      if (const auto it = ids_.find(name); it != ids_.end()) {
        out_.token_type[static_cast<size_t>(it->second)] = static_cast<int32_t>(TokenKind::kByte);
      }
    }
  }

  // Ids that the file skips get a name that no text gives.
  void FillHoles() {
    for (size_t i = 0; i < out_.tokens.size(); ++i) {
      if (out_.token_type[i] != 0) continue;
      out_.tokens[i] = fmt::format("[PAD{}]", i);
      out_.token_type[i] = static_cast<int32_t>(TokenKind::kUnused);
    }
    if (out_.model != "gpt2") out_.scores.resize(out_.tokens.size());
  }

  static absl::Status TooMany(std::string_view what, size_t count) {
    return InvalidArgument("{} has {} entries: at most {}", what, count, kMaxTokens);
  }

  const json& root_;
  size_t max_id_ = kMaxHoles;
  Steps steps_;
  TokenizerMetadata out_;
  std::map<std::string, int32_t, std::less<>> ids_;
};

}  // namespace

absl::StatusOr<TokenizerMetadata> ReadTokenizerJson(std::string_view text) {
  WEFT_ASSIGN_OR_RETURN(const json root, ParseStrictJson(text, kLimits));
  return Reader(root).Run();
}

}  // namespace weft
