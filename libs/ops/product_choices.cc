#include "libs/ops/product_choices.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "libs/base/atomic_file.h"
#include "libs/base/mapped_file.h"
#include "libs/base/status.h"

namespace weft::gpu {
namespace {

constexpr std::string_view kFirstLine = "weft products 1";
constexpr size_t kFields = 11;
constexpr size_t kDigits = 16;  // of a word

std::string OneLine(std::string_view name) {
  std::string out(name);
  std::replace_if(
      out.begin(), out.end(), [](char c) { return c == '\t' || c == '\n'; }, ' ');
  return out;
}

// All of the text is one number, within [least, most].
template <typename T>
bool Read(std::string_view text, T least, T most, T& to) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), to);
  return error == std::errc() && end == text.data() + text.size() && to >= least && to <= most;
}
bool ReadBits(std::string_view text, std::array<uint64_t, 8>& bits) {
  if (text.size() != bits.size() * kDigits) return false;
  for (size_t i = 0; i < bits.size(); ++i) {
    const std::string_view word = text.substr(i * kDigits, kDigits);
    const auto [end, error] = std::from_chars(word.data(), word.data() + kDigits, bits[i], 16);
    if (error != std::errc() || end != word.data() + kDigits) return false;
  }
  return true;
}
bool ReadType(std::string_view text, DType& type) {
  for (const DType of : {DType::kBF16, DType::kF8E4M3}) {
    if (text == Name(of)) {
      type = of;
      return true;
    }
  }
  return false;
}

}  // namespace

absl::StatusOr<ProductChoices> ProductChoices::Parse(std::string_view text) {
  if (text.size() > kMostBytes) {
    return InvalidArgument("{} bytes of product choices: expected at most {}", text.size(),
                           kMostBytes);
  }
  ProductChoices out;
  for (size_t number = 1; !text.empty(); ++number) {
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) return InvalidArgument("line {}: it has no end", number);
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    if (number == 1) {
      if (line != kFirstLine) return InvalidArgument("line 1: expected '{}'", kFirstLine);
      continue;
    }
    std::array<std::string_view, kFields> fields;
    for (size_t i = 0; i < kFields; ++i) {
      const size_t tab = i + 1 < kFields ? line.find('\t') : line.size();
      if (tab == std::string_view::npos) {
        return InvalidArgument("line {}: {} fields, expected {}", number, i + 1, kFields);
      }
      fields[i] = line.substr(0, tab);
      line.remove_prefix(std::min(tab + 1, line.size()));
    }
    constexpr int64_t kMost = int64_t{1} << 31;
    constexpr double kMostTime = 1e9;
    ProductShape shape;
    ProductChoice choice;
    choice.library = fields[6] == "library";
    const bool good[] = {
        !fields[0].empty(),
        !fields[1].empty(),
        ReadType(fields[2], shape.type),
        Read(fields[3], int64_t{1}, kMost, shape.outputs),
        Read(fields[4], int64_t{1}, kMost, shape.cols),
        Read(fields[5], 1, 1 << 20, shape.rows),
        choice.library || fields[6] == "own",
        ReadBits(fields[7], choice.algorithm.bits),
        Read(fields[8], uint64_t{0}, uint64_t{1} << 40, choice.algorithm.workspace),
        Read(fields[9], 0.0, kMostTime, choice.microseconds),
        Read(fields[10], 0.0, kMostTime, choice.own_microseconds)};
    for (size_t i = 0; i < kFields; ++i) {
      if (!good[i]) return InvalidArgument("line {}, field {}: '{}'", number, i + 1, fields[i]);
    }
    out.Set(fields[0], fields[1], shape, choice);
  }
  return out;
}

std::string ProductChoices::Format() const {
  std::string text(kFirstLine);
  text += '\n';
  for (const auto& [key, choice] : choices_) {
    const auto& [device, library, shape] = key;
    std::string bits;
    for (const uint64_t word : choice.algorithm.bits) bits += fmt::format("{:016x}", word);
    text += fmt::format("{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\n", device, library,
                        Name(shape.type), shape.outputs, shape.cols, shape.rows,
                        choice.library ? "library" : "own", bits, choice.algorithm.workspace,
                        choice.microseconds, choice.own_microseconds);
  }
  return text;
}

absl::StatusOr<ProductChoices> ProductChoices::Load(const std::string& path) {
  const absl::StatusOr<MappedFile> file = MappedFile::Open(path, "product choices");
  if (absl::IsNotFound(file.status())) return ProductChoices();
  WEFT_RETURN_IF_ERROR(file.status());
  absl::StatusOr<ProductChoices> choices = Parse(file->contents());
  if (!choices.ok()) return Annotate(choices.status(), path);
  return choices;
}

absl::Status ProductChoices::Save(const std::string& path) const {
  const std::string text = Format();
  WEFT_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path, text.size()));
  WEFT_RETURN_IF_ERROR(file.Append(text));
  return file.Commit();
}

const ProductChoice* ProductChoices::Find(std::string_view device, std::string_view library,
                                          const ProductShape& shape) const {
  const auto found = choices_.find({OneLine(device), OneLine(library), shape});
  return found == choices_.end() ? nullptr : &found->second;
}

void ProductChoices::Set(std::string_view device, std::string_view library,
                         const ProductShape& shape, const ProductChoice& choice) {
  choices_[{OneLine(device), OneLine(library), shape}] = choice;
}

}  // namespace weft::gpu
