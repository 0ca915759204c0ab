#include "services/weftctl/inspect.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "libs/base/status.h"
#include "libs/model/gguf_source.h"
#include "libs/model/model_source.h"
#include "libs/tensor/dtype.h"
#include "services/weftctl/printable.h"

namespace weft::ctl {
namespace {

using Json = nlohmann::ordered_json;

struct TypeTotal {
  uint64_t tensors = 0;
  uint64_t elements = 0;
  uint64_t bytes = 0;
};

struct Totals {
  std::map<DType, TypeTotal> types;
  uint64_t elements = 0;
  uint64_t bytes = 0;
  double bits_per_weight() const {
    return elements == 0 ? 0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(elements);
  }
};

Totals Sum(const TensorSource& source) {
  Totals totals;
  for (const Tensor& tensor : source.tensors()) {
    TypeTotal& type = totals.types[tensor.type];
    ++type.tensors;
    const auto elements = static_cast<uint64_t>(tensor.elements());
    type.elements += elements;
    type.bytes += tensor.bytes;
    totals.elements += elements;
    totals.bytes += tensor.bytes;
  }
  return totals;
}

// Of one sequence: powers of two up to the model's own, and that.
std::vector<int32_t> Contexts(int32_t most) {
  std::vector<int32_t> contexts;
  for (const int32_t context : {2048, 8192, 32768, 131072}) {
    if (context < most) contexts.push_back(context);
  }
  contexts.push_back(most);
  return contexts;
}

MemoryNeed NeedAt(const InspectedModel& model, int32_t context) {
  ModelConfig config = *model.config;
  config.context_length = context;
  return EstimateMemory(config, *model.tensors, {.kv_bytes = UINT64_MAX});
}

std::string Count(uint64_t n) {
  const double value = static_cast<double>(n);
  if (n >= 1'000'000'000) return fmt::format("{:.2f} billion", value / 1e9);
  if (n >= 1'000'000) return fmt::format("{:.1f} million", value / 1e6);
  return fmt::format("{}", n);
}

std::string Megabytes(uint64_t bytes) {
  return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6);
}

Json Value(const GgufFile& file, const GgufFile::Entry& entry) {
  switch (entry.type) {
    case GgufType::kString:
      return std::string(file.GetString(entry.key).value_or(""));
    case GgufType::kBool:
      return file.GetBool(entry.key).value_or(false);
    case GgufType::kFloat32:
    case GgufType::kFloat64:
      return file.GetFloat(entry.key).value_or(0);
    case GgufType::kArray:
      return {{"element_type", std::string(Name(entry.element))},
              {"count", entry.count},
              {"values", Describe(entry)}};
    default:
      if (const auto value = file.GetInt(entry.key); value.ok()) return *value;
      return file.GetUint(entry.key).value_or(0);
  }
}

// Lines of text, each with its label.
using Line = std::function<void(std::string_view, const std::string&)>;

void CheckText(const TensorCheck& check, const Line& line) {
  line("values", fmt::format("{} tensors read, {} bytes: {}", check.tensors, check.bytes,
                             check.not_finite.empty() ? "all finite" : "damaged"));
  for (const TensorCheck::NotFinite& found : check.not_finite) {
    line("not finite",
         fmt::format("{}: {} value{}, the first at element {}", Printable(found.tensor),
                     found.values, found.values == 1 ? "" : "s", found.first));
  }
  for (const std::string& name : check.zero) line("all zero", Printable(name));
  for (const std::string& name : check.unread) line("not read", Printable(name));
}

Json CheckJson(const TensorCheck& check) {
  Json not_finite = Json::array();
  for (const TensorCheck::NotFinite& found : check.not_finite) {
    not_finite.push_back(
        {{"tensor", found.tensor}, {"values", found.values}, {"first", found.first}});
  }
  return {{"tensors", check.tensors},
          {"bytes", check.bytes},
          {"not_finite", std::move(not_finite)},
          {"zero", check.zero},
          {"unread", check.unread}};
}

}  // namespace

absl::StatusOr<InspectedModel> OpenForInspection(const std::string& path) {
  InspectedModel model;
  model.path = path;
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    WEFT_ASSIGN_OR_RETURN(ModelSource source, ModelSource::Open(path));
    model.tensors = std::move(source.tensors);
    model.config = std::move(source.config);
    return model;
  }
  WEFT_ASSIGN_OR_RETURN(model.metadata, GgufFile::Open(path));
  model.tensors = std::make_shared<GgufSource>(model.metadata, /*mapped=*/true);
  model.config = ModelConfig::FromGguf(*model.metadata);
  return model;
}

std::string InspectionText(const InspectedModel& model, bool everything) {
  std::string out = fmt::format("{}\n", model.path);
  const Line line = [&out](std::string_view label, const std::string& text) {
    out += fmt::format("  {:<14}{}\n", label, text);
  };
  const Totals totals = Sum(*model.tensors);
  if (model.metadata != nullptr) {
    if (const auto name = model.metadata->GetString("general.name"); name.ok()) {
      line("name", Printable(*name));
    }
    line("file", fmt::format("GGUF {}, {} part{}, {} bytes", model.metadata->version(),
                             model.metadata->contents().size(),
                             model.metadata->contents().size() == 1 ? "" : "s",
                             model.metadata->file_bytes()));
  }
  if (model.config.ok()) {
    const ModelConfig& c = *model.config;
    line("architecture",
         fmt::format(
             "{}: {} layers of {}, {} heads ({} of K and V) of {}, vocabulary {}, context {}",
             Printable(c.architecture), c.layers, c.hidden, c.heads, c.kv_heads, c.head_dim,
             c.vocab, c.context_length));
  } else {
    line("cannot run", Printable(Message(model.config.status())));
  }
  line("parameters",
       fmt::format("{} ({}) in {} tensors, {} bytes, {:.2f} bits per weight",
                   Count(totals.elements), totals.elements, model.tensors->tensors().size(),
                   totals.bytes, totals.bits_per_weight()));
  for (const auto& [type, total] : totals.types) {
    line("", fmt::format("{:<8} {:>5} tensors {:>15} elements {:>12}{}", Name(type), total.tensors,
                         total.elements, Megabytes(total.bytes),
                         IsSupported(type) ? "" : "  cannot be computed with"));
  }
  if (model.config.ok()) {
    line("KV cache",
         fmt::format("{} bytes per token (F16), {} (Q8_0)", KvBytesPerToken(*model.config),
                     KvBytesPerToken(*model.config, DType::kQ8_0)));
    for (const int32_t context : Contexts(model.config->context_length)) {
      const MemoryNeed need = NeedAt(model, context);
      line("memory", fmt::format("{} at context {}: weights {}, KV {}, activations {}",
                                 Megabytes(need.total()), context, Megabytes(need.weights),
                                 Megabytes(need.kv), Megabytes(need.scratch)));
    }
  }
  if (model.check.has_value()) CheckText(*model.check, line);
  if (!everything) return out;
  if (model.metadata != nullptr) {
    out += "metadata\n";
    for (const GgufFile::Entry& entry : model.metadata->entries()) {
      out += fmt::format("  {} = {}\n", Printable(entry.key), Printable(Describe(entry)));
    }
  }
  out += "tensors\n";
  for (const Tensor& tensor : model.tensors->tensors()) {
    out += fmt::format("  {:<40} {:<8} [{}]\n", Printable(tensor.name), Name(tensor.type),
                       fmt::join(tensor.dims, ", "));
  }
  return out;
}

std::string InspectionJson(const InspectedModel& model) {
  const Totals totals = Sum(*model.tensors);
  Json out = {{"path", model.path}};
  if (model.metadata != nullptr) {
    out["gguf_version"] = model.metadata->version();
    out["parts"] = model.metadata->contents().size();
    out["file_bytes"] = model.metadata->file_bytes();
  }
  out["parameters"] = totals.elements;
  out["tensor_bytes"] = totals.bytes;
  out["bits_per_weight"] = totals.bits_per_weight();
  Json types = Json::object();
  for (const auto& [type, total] : totals.types) {
    types[std::string(Name(type))] = {{"tensors", total.tensors},
                                      {"elements", total.elements},
                                      {"bytes", total.bytes},
                                      {"supported", IsSupported(type)}};
  }
  out["types"] = std::move(types);
  if (model.config.ok()) {
    const ModelConfig& c = *model.config;
    out["architecture"] = c.architecture;
    out["config"] = {{"layers", c.layers},
                     {"hidden", c.hidden},
                     {"heads", c.heads},
                     {"kv_heads", c.kv_heads},
                     {"head_dim", c.head_dim},
                     {"vocab", c.vocab},
                     {"context_length", c.context_length}};
    out["kv_bytes_per_token"] = KvBytesPerToken(c);
    Json memory = Json::array();
    for (const int32_t context : Contexts(c.context_length)) {
      const MemoryNeed need = NeedAt(model, context);
      memory.push_back({{"context", context},
                        {"weights_bytes", need.weights},
                        {"kv_bytes", need.kv},
                        {"scratch_bytes", need.scratch},
                        {"total_bytes", need.total()}});
    }
    out["memory"] = std::move(memory);
  } else {
    out["cannot_run"] = std::string(Message(model.config.status()));
  }
  if (model.metadata != nullptr) {
    Json metadata = Json::object();
    for (const GgufFile::Entry& entry : model.metadata->entries()) {
      metadata[std::string(entry.key)] = Value(*model.metadata, entry);
    }
    out["metadata"] = std::move(metadata);
  }
  if (model.check.has_value()) out["check"] = CheckJson(*model.check);
  Json tensors = Json::array();
  for (const Tensor& tensor : model.tensors->tensors()) {
    tensors.push_back({{"name", tensor.name},
                       {"type", std::string(Name(tensor.type))},
                       {"dims", tensor.dims},
                       {"bytes", tensor.bytes}});
  }
  out["tensors"] = std::move(tensors);
  // Bytes that are not UTF-8 become U+FFFD.
  return out.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace weft::ctl
