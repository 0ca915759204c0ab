#include "libs/model/hf_rope.h"

#include <algorithm>
#include <cmath>

namespace weft {
namespace {

using nlohmann::json;
using Kind = RopeScaling::Kind;

constexpr int32_t kMaxContext = 1 << 24;
constexpr size_t kMaxFactors = 256;

// Keys of a scaling object that change nothing here, or are read by the caller.
constexpr std::string_view kNeutralKeys[] = {"type", "rope_type", "rope_theta", "finetuned",
                                             "partial_rotary_factor"};

// A key that is not known would be computed without.
void NothingElse(const json& object, std::initializer_list<std::string_view> known,
                 JsonReader& reader) {
  const auto has = [](const auto& keys, std::string_view key) {
    return std::find(std::begin(keys), std::end(keys), key) != std::end(keys);
  };
  for (const auto& [key, value] : object.items()) {
    if (has(kNeutralKeys, key) || has(known, key) || value.is_null()) continue;
    reader.Fail(Unimplemented("{}: key '{}' is not known for this kind of scaling", reader.where(),
                              key.substr(0, 80)));
  }
}

void ReadYarn(JsonReader& reader, RopeScaling& out) {
  out.beta_fast = reader.Real("beta_fast", 32.0f);
  out.beta_slow = reader.Real("beta_slow", 1.0f);
  out.truncate = reader.Flag("truncate", true);
  out.attention_factor = reader.Real("attention_factor", 0.0f);
  out.mscale = reader.Real("mscale", 0.0f);
  out.mscale_all_dim = reader.Real("mscale_all_dim", 0.0f);
}

// `outer` has the keys beside the scaling object: Phi 3's original_max_position_embeddings.
void ReadScaling(JsonReader& outer, const json& object, const std::string& where,
                 ModelConfig& config) {
  JsonReader reader(object, where);
  std::string kind = reader.Text("rope_type", reader.Text("type", "default"));
  RopeScaling& out = config.rope_scaling;
  const int32_t original = outer.Count(
      "original_max_position_embeddings", 1, kMaxContext,
      reader.Count("original_max_position_embeddings", 1, kMaxContext, config.context_length));
  if (kind == "default") {
    NothingElse(object, {}, reader);
  } else if (kind == "linear") {
    out.kind = Kind::kLinear;
    out.factor = reader.Real("factor");
    NothingElse(object, {"factor"}, reader);
  } else if (kind == "dynamic") {
    out.kind = Kind::kDynamic;
    out.factor = reader.Real("factor");
    out.original_context = config.context_length;
    if (out.factor >= 1 && out.factor <= 1024) {
      const double longer = static_cast<double>(config.context_length) * out.factor;
      config.context_length = static_cast<int32_t>(std::min<double>(kMaxContext, longer));
    }
    NothingElse(object, {"factor"}, reader);
  } else if (kind == "llama3") {
    out.kind = Kind::kLlama3;
    out.factor = reader.Real("factor");
    out.low_freq_factor = reader.Real("low_freq_factor");
    out.high_freq_factor = reader.Real("high_freq_factor");
    out.original_context = original;
    NothingElse(
        object,
        {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"},
        reader);
  } else if (kind == "yarn") {
    out.kind = Kind::kYarn;
    out.original_context = original;
    out.factor = reader.Real(
        "factor", static_cast<float>(config.context_length) / static_cast<float>(original));
    ReadYarn(reader, out);
    NothingElse(object,
                {"factor", "original_max_position_embeddings", "beta_fast", "beta_slow", "truncate",
                 "attention_factor", "mscale", "mscale_all_dim"},
                reader);
  } else if (kind == "longrope" || kind == "su") {
    out.kind = Kind::kLongRope;
    out.original_context = original;
    out.factor = reader.Real(
        "factor", static_cast<float>(config.context_length) / static_cast<float>(original));
    out.attention_factor = reader.Real("attention_factor", 0.0f);
    for (const char* key : {"short_factor", "long_factor"}) {
      if (!reader.Has(key)) reader.Fail(InvalidArgument("{}: key '{}' is missing", where, key));
    }
    out.short_factors = reader.Reals("short_factor", kMaxFactors);
    out.long_factors = reader.Reals("long_factor", kMaxFactors);
    NothingElse(object,
                {"factor", "original_max_position_embeddings", "attention_factor", "short_factor",
                 "long_factor"},
                reader);
  } else {
    reader.Fail(Unimplemented(
        "{}: rope_type \"{}\" is not supported, only default, linear, dynamic, llama3, yarn and "
        "longrope",
        where, kind.substr(0, 80)));
  }
  outer.Fail(reader.status());
}

// A part of each head rotates; an even number of elements.
void SetRopeDim(float fraction, JsonReader& reader, ModelConfig& config) {
  if (!(fraction > 0 && fraction <= 1)) {
    reader.Fail(InvalidArgument("{}: partial_rotary_factor: expected a value in (0, 1], found {}",
                                reader.where(), fraction));
    return;
  }
  config.rope_dim = static_cast<int32_t>(static_cast<double>(config.head_dim) * fraction);
}

}  // namespace

void ReadHfRope(JsonReader& reader, ModelConfig& config) {
  const json* parameters = reader.Find("rope_parameters");
  if (parameters == nullptr) {
    config.rope_base = reader.Real("rope_theta", 10000.0f);
    config.rope_base_sliding = reader.Real("rope_local_base_freq", 0.0f);
    SetRopeDim(reader.Real("partial_rotary_factor", 1.0f), reader, config);
    const json* scaling = reader.Find("rope_scaling");
    if (scaling == nullptr) return;
    if (!scaling->is_object()) {
      reader.Fail(InvalidArgument("{}: rope_scaling: expected an object", reader.where()));
      return;
    }
    ReadScaling(reader, *scaling, reader.where() + ": rope_scaling", config);
    return;
  }
  if (!parameters->is_object()) {
    reader.Fail(InvalidArgument("{}: rope_parameters: expected an object", reader.where()));
    return;
  }
  std::string where = reader.where() + ": rope_parameters";
  const json* full = parameters;
  if (parameters->contains("full_attention")) {  // one object for each kind of layer
    JsonReader by_layer(*parameters, where);
    full = by_layer.Find("full_attention");
    const json* sliding = by_layer.Find("sliding_attention");
    for (const json* object : {full, sliding}) {
      if (object == nullptr || !object->is_object()) {
        reader.Fail(InvalidArgument("{}: expected the objects full_attention and sliding_attention",
                                    where));
        return;
      }
    }
    JsonReader local(*sliding, where + ".sliding_attention");
    config.rope_base_sliding = local.Real("rope_theta");
    if (const std::string kind = local.Text("rope_type", "default"); kind != "default") {
      local.Fail(Unimplemented("{}: rope_type \"{}\" is not supported for sliding layers",
                               local.where(), kind.substr(0, 80)));
    }
    reader.Fail(local.status());
    where += ".full_attention";
  }
  JsonReader rope(*full, where);
  config.rope_base = rope.Real("rope_theta", reader.Real("rope_theta", 10000.0f));
  SetRopeDim(rope.Real("partial_rotary_factor", reader.Real("partial_rotary_factor", 1.0f)), rope,
             config);
  reader.Fail(rope.status());
  ReadScaling(reader, *full, where, config);
}

}  // namespace weft
