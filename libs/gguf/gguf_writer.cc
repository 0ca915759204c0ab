#include "libs/gguf/gguf_writer.h"

namespace weft {
namespace {

template <typename T>
void Append(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void AppendText(std::string& out, std::string_view text) {
  Append<uint64_t>(out, text.size());
  out += text;
}

}  // namespace

void GgufWriter::Key(std::string_view key, GgufType type) {
  ++entries_;
  AppendText(metadata_, key);
  Append(metadata_, static_cast<uint32_t>(type));
}

void GgufWriter::ArrayHead(std::string_view key, GgufType element, uint64_t count) {
  Key(key, GgufType::kArray);
  Append(metadata_, static_cast<uint32_t>(element));
  Append(metadata_, count);
}

void GgufWriter::AddUint32(std::string_view key, uint32_t value) {
  Key(key, GgufType::kUint32);
  Append(metadata_, value);
}

void GgufWriter::AddInt32(std::string_view key, int32_t value) {
  Key(key, GgufType::kInt32);
  Append(metadata_, value);
}

void GgufWriter::AddUint64(std::string_view key, uint64_t value) {
  Key(key, GgufType::kUint64);
  Append(metadata_, value);
}

void GgufWriter::AddFloat32(std::string_view key, float value) {
  Key(key, GgufType::kFloat32);
  Append(metadata_, value);
}

void GgufWriter::AddBool(std::string_view key, bool value) {
  Key(key, GgufType::kBool);
  Append(metadata_, static_cast<uint8_t>(value ? 1 : 0));
}

void GgufWriter::AddString(std::string_view key, std::string_view value) {
  Key(key, GgufType::kString);
  AppendText(metadata_, value);
}

void GgufWriter::AddStringArray(std::string_view key, std::span<const std::string> values) {
  ArrayHead(key, GgufType::kString, values.size());
  for (const std::string& value : values) AppendText(metadata_, value);
}

void GgufWriter::AddInt32Array(std::string_view key, std::span<const int32_t> values) {
  ArrayHead(key, GgufType::kInt32, values.size());
  for (const int32_t value : values) Append(metadata_, value);
}

void GgufWriter::AddBoolArray(std::string_view key, std::span<const uint8_t> values) {
  ArrayHead(key, GgufType::kBool, values.size());
  for (const uint8_t value : values) Append(metadata_, static_cast<uint8_t>(value != 0 ? 1 : 0));
}

void GgufWriter::AddUint8Array(std::string_view key, std::string_view bytes) {
  ArrayHead(key, GgufType::kUint8, bytes.size());
  metadata_ += bytes;
}

void GgufWriter::AddFloat32Array(std::string_view key, std::span<const float> values) {
  ArrayHead(key, GgufType::kFloat32, values.size());
  for (const float value : values) Append(metadata_, value);
}

void GgufWriter::AddFloat64Array(std::string_view key, std::span<const double> values) {
  ArrayHead(key, GgufType::kFloat64, values.size());
  for (const double value : values) Append(metadata_, value);
}

void GgufWriter::AddEntry(const GgufFile::Entry& entry) {
  if (entry.type == GgufType::kArray) {
    ArrayHead(entry.key, entry.element, entry.count);
  } else {
    Key(entry.key, entry.type);
  }
  metadata_ += entry.payload;
}

void GgufWriter::AddTensor(std::string_view name, uint32_t ggml_type, std::span<const int64_t> dims,
                           std::string_view data) {
  tensors_.push_back({std::string(name), ggml_type, {dims.begin(), dims.end()}, data.size(), data});
}

void GgufWriter::AddTensorInfo(std::string_view name, uint32_t ggml_type,
                               std::span<const int64_t> dims, uint64_t bytes) {
  tensors_.push_back({std::string(name), ggml_type, {dims.begin(), dims.end()}, bytes, {}});
}

uint64_t GgufWriter::PaddingAt(uint64_t offset) const {
  return (alignment_ - offset % alignment_) % alignment_;
}

std::string GgufWriter::Head() const {
  std::string out = "GGUF";
  Append<uint32_t>(out, 3);
  Append<uint64_t>(out, tensors_.size());
  Append<uint64_t>(out, entries_);
  out += metadata_;
  uint64_t offset = 0;
  for (const Tensor& tensor : tensors_) {
    AppendText(out, tensor.name);
    Append(out, static_cast<uint32_t>(tensor.dims.size()));
    for (const int64_t extent : tensor.dims) Append(out, extent);
    Append(out, tensor.type);
    Append(out, offset);
    offset += tensor.bytes;
    offset += PaddingAt(offset);
  }
  return out;
}

uint64_t GgufWriter::FileBytes() const {
  uint64_t bytes = Head().size();
  for (const Tensor& tensor : tensors_) bytes += PaddingAt(bytes) + tensor.bytes;
  return bytes;
}

std::string GgufWriter::Finish() const {
  std::string out = Head();
  for (const Tensor& tensor : tensors_) {
    out.append(PaddingAt(out.size()), '\0');
    out += tensor.data;
  }
  return out;
}

}  // namespace weft
