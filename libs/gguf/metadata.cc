// Typed access to metadata values, and the metadata-only file that workers ship as tokenizers.
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <limits>
#include <type_traits>

#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/gguf/cursor.h"
#include "libs/gguf/gguf_writer.h"

namespace weft {
namespace {

using gguf_internal::Cursor;
using gguf_internal::FixedSize;

template <typename T>
T Load(const char* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

// Calls visit with the number at `from` in its own C++ type. False when type is not a number.
template <typename Visit>
bool VisitNumber(GgufType type, const char* from, Visit visit) {
  switch (type) {
    case GgufType::kUint8:
      visit(Load<uint8_t>(from));
      return true;
    case GgufType::kInt8:
      visit(Load<int8_t>(from));
      return true;
    case GgufType::kUint16:
      visit(Load<uint16_t>(from));
      return true;
    case GgufType::kInt16:
      visit(Load<int16_t>(from));
      return true;
    case GgufType::kUint32:
      visit(Load<uint32_t>(from));
      return true;
    case GgufType::kInt32:
      visit(Load<int32_t>(from));
      return true;
    case GgufType::kUint64:
      visit(Load<uint64_t>(from));
      return true;
    case GgufType::kInt64:
      visit(Load<int64_t>(from));
      return true;
    case GgufType::kFloat32:
      visit(Load<float>(from));
      return true;
    case GgufType::kFloat64:
      visit(Load<double>(from));
      return true;
    case GgufType::kBool:
    case GgufType::kString:
    case GgufType::kArray:
      return false;
  }
  return false;
}

absl::Status WrongType(const GgufFile::Entry& entry, std::string_view wanted) {
  if (entry.type == GgufType::kArray) {
    return InvalidArgument("metadata '{}' at offset {} is an array of {}, not {}", entry.key,
                           entry.offset, Name(entry.element), wanted);
  }
  return InvalidArgument("metadata '{}' at offset {} is a {}, not {}", entry.key, entry.offset,
                         Name(entry.type), wanted);
}

absl::StatusOr<const GgufFile::Entry*> FindOrError(const GgufFile& file, std::string_view key) {
  const GgufFile::Entry* entry = file.Find(key);
  if (entry == nullptr) return NotFound("metadata '{}' is missing", key);
  return entry;
}

// kOk, not an integer at all, or an integer that does not fit Out.
enum class Conversion { kOk, kWrongType, kOutOfRange };

template <typename Out>
Conversion ToInteger(GgufType type, const char* from, Out& out) {
  Conversion result = Conversion::kWrongType;
  VisitNumber(type, from, [&](auto value) {
    if constexpr (std::is_integral_v<decltype(value)>) {
      result = std::in_range<Out>(value) ? Conversion::kOk : Conversion::kOutOfRange;
      out = static_cast<Out>(value);  // NOLINT(bugprone-signed-char-misuse): a number
    }
  });
  return result;
}

template <typename Out>
absl::StatusOr<Out> GetInteger(const GgufFile& file, std::string_view key,
                               std::string_view wanted) {
  WEFT_ASSIGN_OR_RETURN(const GgufFile::Entry* entry, FindOrError(file, key));
  Out out{};
  switch (ToInteger(entry->type, entry->payload.data(), out)) {
    case Conversion::kOk:
      return out;
    case Conversion::kOutOfRange:
      return InvalidArgument("metadata '{}' at offset {} is out of the range of {}", key,
                             entry->offset, wanted);
    case Conversion::kWrongType:
      break;
  }
  return WrongType(*entry, wanted);
}

void AppendQuoted(std::string& out, std::string_view text, size_t max_bytes) {
  out += '"';
  for (size_t i = 0; i < text.size(); ++i) {
    if (out.size() >= max_bytes) {
      out += "...";
      break;
    }
    const char c = text[i];
    if (c == '\n') {
      out += "\\n";
    } else if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<uint8_t>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\x{:02x}", static_cast<uint8_t>(c));
    } else {
      out += c;
    }
  }
  out += '"';
}

// Appends the value under the cursor, which was checked when the file was opened.
void AppendValue(std::string& out, Cursor& cursor, std::string_view bytes, GgufType type,
                 size_t max_bytes);

void AppendElements(std::string& out, Cursor& cursor, std::string_view bytes, GgufType element,
                    uint64_t count, size_t max_bytes) {
  out += '[';
  for (uint64_t i = 0; i < count; ++i) {
    if (i > 0) out += ", ";
    if (out.size() >= max_bytes) {
      out += fmt::format("... {} in all", count);
      break;
    }
    AppendValue(out, cursor, bytes, element, max_bytes);
  }
  out += ']';
}

void AppendValue(std::string& out, Cursor& cursor, std::string_view bytes, GgufType type,
                 size_t max_bytes) {
  if (type == GgufType::kString) {
    std::string_view text;
    if (cursor.ReadString(text, cursor.left(), "string").ok()) AppendQuoted(out, text, max_bytes);
    return;
  }
  if (type == GgufType::kArray) {
    GgufType element{};
    uint64_t count = 0;
    // After a cut inner array the cursor is not at the next value; out is then full anyway.
    if (cursor.ReadArrayHead(element, count).ok()) {
      AppendElements(out, cursor, bytes, element, count, max_bytes);
    }
    return;
  }
  const char* from = bytes.data() + cursor.offset();
  if (type == GgufType::kBool) {
    out += *from != 0 ? "true" : "false";
  } else {
    VisitNumber(type, from, [&](auto value) {
      if constexpr (std::is_same_v<decltype(value), int8_t> ||
                    std::is_same_v<decltype(value), uint8_t>) {
        out += fmt::format("{}", static_cast<int>(value));
      } else {
        out += fmt::format("{}", value);
      }
    });
  }
  cursor = Cursor(bytes, cursor.offset() + FixedSize(type));
}

}  // namespace

absl::StatusOr<uint64_t> GgufFile::GetUint(std::string_view key) const {
  return GetInteger<uint64_t>(*this, key, "an unsigned integer");
}

absl::StatusOr<int64_t> GgufFile::GetInt(std::string_view key) const {
  return GetInteger<int64_t>(*this, key, "an integer");
}

absl::StatusOr<double> GgufFile::GetFloat(std::string_view key) const {
  WEFT_ASSIGN_OR_RETURN(const Entry* entry, FindOrError(*this, key));
  double out = 0;
  if (entry->type == GgufType::kFloat32) {
    out = static_cast<double>(Load<float>(entry->payload.data()));
  } else if (entry->type == GgufType::kFloat64) {
    out = Load<double>(entry->payload.data());
  } else {
    return WrongType(*entry, "a floating-point number");
  }
  return out;
}

absl::StatusOr<bool> GgufFile::GetBool(std::string_view key) const {
  WEFT_ASSIGN_OR_RETURN(const Entry* entry, FindOrError(*this, key));
  if (entry->type != GgufType::kBool) return WrongType(*entry, "a bool");
  return entry->payload[0] != 0;
}

absl::StatusOr<std::string_view> GgufFile::GetString(std::string_view key) const {
  WEFT_ASSIGN_OR_RETURN(const Entry* entry, FindOrError(*this, key));
  if (entry->type != GgufType::kString) return WrongType(*entry, "a string");
  return entry->payload.substr(8);
}

absl::StatusOr<std::vector<std::string_view>> GgufFile::GetStringArray(std::string_view key) const {
  WEFT_ASSIGN_OR_RETURN(const Entry* entry, FindOrError(*this, key));
  if (entry->type != GgufType::kArray || entry->element != GgufType::kString) {
    return WrongType(*entry, "an array of strings");
  }
  std::vector<std::string_view> out(entry->count);
  Cursor cursor(entry->payload);
  for (std::string_view& text : out) {
    WEFT_RETURN_IF_ERROR(cursor.ReadString(text, cursor.left(), key));
  }
  return out;
}

absl::StatusOr<std::vector<int64_t>> GgufFile::GetIntArray(std::string_view key) const {
  WEFT_ASSIGN_OR_RETURN(const Entry* entry, FindOrError(*this, key));
  std::vector<int64_t> out;
  const uint64_t size = FixedSize(entry->element);
  if (entry->type != GgufType::kArray || size == 0)
    return WrongType(*entry, "an array of integers");
  out.reserve(entry->count);
  for (uint64_t i = 0; i < entry->count; ++i) {
    int64_t value = 0;
    switch (ToInteger(entry->element, entry->payload.data() + i * size, value)) {
      case Conversion::kOk:
        out.push_back(value);
        break;
      case Conversion::kOutOfRange:
        return InvalidArgument("metadata '{}' element {} at offset {} does not fit 64 bits signed",
                               key, i, entry->offset + i * size);
      case Conversion::kWrongType:
        return WrongType(*entry, "an array of integers");
    }
  }
  return out;
}

absl::StatusOr<std::vector<double>> GgufFile::GetFloatArray(std::string_view key) const {
  WEFT_ASSIGN_OR_RETURN(const Entry* entry, FindOrError(*this, key));
  std::vector<double> out;
  const uint64_t size = FixedSize(entry->element);
  if (entry->type != GgufType::kArray || size == 0 || entry->element == GgufType::kBool) {
    return WrongType(*entry, "an array of numbers");
  }
  out.reserve(entry->count);
  for (uint64_t i = 0; i < entry->count; ++i) {
    VisitNumber(entry->element, entry->payload.data() + i * size,
                [&](auto value) { out.push_back(static_cast<double>(value)); });
  }
  return out;
}

std::string Describe(const GgufFile::Entry& entry, size_t max_bytes) {
  std::string out;
  Cursor cursor(entry.payload);
  if (entry.type == GgufType::kArray) {
    AppendElements(out, cursor, entry.payload, entry.element, entry.count, max_bytes);
  } else {
    AppendValue(out, cursor, entry.payload, entry.type, max_bytes);
  }
  return out;
}

std::string SerializeMetadata(const GgufFile& file) {
  std::vector<const GgufFile::Entry*> entries;
  for (const GgufFile::Entry& entry : file.entries()) {
    // How a file was split says nothing about the model.
    if (!entry.key.starts_with("split.")) entries.push_back(&entry);
  }
  std::sort(entries.begin(), entries.end(),
            [](const auto* a, const auto* b) { return a->key < b->key; });
  GgufWriter writer;
  for (const GgufFile::Entry* entry : entries) writer.AddEntry(*entry);
  return writer.Finish();
}

std::string MetadataSha256(const GgufFile& file) {
  const std::string bytes = SerializeMetadata(file);
  std::array<uint8_t, 32> digest{};
  unsigned int length = 0;
  WEFT_CHECK(
      EVP_Digest(bytes.data(), bytes.size(), digest.data(), &length, EVP_sha256(), nullptr) == 1);
  return Hex(digest);
}

}  // namespace weft
