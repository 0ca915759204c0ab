#include "libs/tokenizer/tokenizer_metadata.h"

#include "libs/gguf/gguf_writer.h"

namespace weft {

std::string TokenizerMetadata::ToGguf() const {
  GgufWriter out;
  out.AddString("tokenizer.ggml.model", model);
  if (!pre.empty()) out.AddString("tokenizer.ggml.pre", pre);
  out.AddStringArray("tokenizer.ggml.tokens", tokens);
  out.AddInt32Array("tokenizer.ggml.token_type", token_type);
  if (!scores.empty() && double_scores) out.AddFloat64Array("tokenizer.ggml.scores", scores);
  if (!scores.empty() && !double_scores) {
    const std::vector<float> narrow(scores.begin(), scores.end());
    out.AddFloat32Array("tokenizer.ggml.scores", narrow);
  }
  if (!merges.empty() || model == "gpt2") out.AddStringArray("tokenizer.ggml.merges", merges);
  const auto id = [&out](const char* key, const std::optional<int32_t>& value) {
    if (value) out.AddUint32(key, static_cast<uint32_t>(*value));
  };
  id("tokenizer.ggml.bos_token_id", bos);
  id("tokenizer.ggml.eos_token_id", eos);
  id("tokenizer.ggml.unknown_token_id", unknown);
  id("tokenizer.ggml.padding_token_id", padding);
  const auto flag = [&out](const char* key, const std::optional<bool>& value) {
    if (value) out.AddBool(key, *value);
  };
  flag("tokenizer.ggml.add_bos_token", add_bos);
  flag("tokenizer.ggml.add_eos_token", add_eos);
  flag("tokenizer.ggml.add_space_prefix", add_space_prefix);
  flag("tokenizer.ggml.remove_extra_whitespaces", remove_extra_whitespaces);
  if (!precompiled_charsmap.empty()) {
    out.AddUint8Array("tokenizer.ggml.precompiled_charsmap", precompiled_charsmap);
  }
  if (!chat_template.empty()) out.AddString("tokenizer.chat_template", chat_template);
  if (normalizer) out.AddStringArray("weft.tokenizer.normalizer", *normalizer);
  flag("weft.tokenizer.whole_pieces_first", whole_pieces_first);
  if (!space_prefix.empty()) out.AddString("weft.tokenizer.space_prefix", space_prefix);
  if (split_on_spaces) out.AddBool("weft.tokenizer.split_on_spaces", true);
  if (merges_by_rank) out.AddBool("weft.tokenizer.merges_by_rank", true);
  if (double_scores) out.AddBool("weft.tokenizer.double_scores", true);
  const auto ids = [&out](const char* key, const std::vector<int32_t>& values) {
    if (!values.empty()) out.AddInt32Array(key, values);
  };
  ids("weft.tokenizer.strip_left", strip_left);
  ids("weft.tokenizer.strip_right", strip_right);
  ids("weft.tokenizer.end_ids", end_ids);
  return out.Finish();
}

}  // namespace weft
