#include "libs/model/repack_file.h"

#include <algorithm>
#include <optional>
#include <type_traits>

#include "libs/base/status.h"
#include "libs/model/sha256.h"

namespace weft {
namespace {

constexpr std::string_view kMagic = "WEFTPACK";
constexpr uint32_t kVersion = 1;
constexpr size_t kHeadBytes = 8 + 4 + 4 + 32 + 32;
constexpr uint32_t kMaxBodyBytes = 64u << 20;
constexpr uint64_t kAlignment = 64;
constexpr size_t kShaDigits = 64;

uint64_t Align(uint64_t at) { return (at + kAlignment - 1) / kAlignment * kAlignment; }

uint64_t EntryBytes(const RepackEntry& entry) {
  return 2 + entry.name.size() + 4 + 8 + 8 + 1 + 8 + 8;
}

template <typename T>
void Append(std::string& out, T value) {
  static_assert(std::is_integral_v<T>);
  for (size_t i = 0; i < sizeof(T); ++i) {
    out.push_back(static_cast<char>(static_cast<uint64_t>(value) >> (8 * i)));
  }
}

std::string_view View(const std::array<uint8_t, 32>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::array<uint8_t, 32> Checksum(const RepackKey& key, std::string_view body) {
  Sha256 hash;
  hash.Add(View(key));
  hash.Add(body);
  return hash.Digest();
}

// Reads a body; what it lacks is an error, never a read beyond it.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  bool Text(size_t size, std::string& out) {
    if (bytes_.size() - at_ < size) return false;
    out.assign(bytes_.substr(at_, size));
    at_ += size;
    return true;
  }
  template <typename T>
  bool Number(T& out) {
    if (bytes_.size() - at_ < sizeof(T)) return false;
    uint64_t value = 0;
    for (size_t i = 0; i < sizeof(T); ++i) {
      value |= uint64_t{static_cast<uint8_t>(bytes_[at_ + i])} << (8 * i);
    }
    out = static_cast<T>(value);
    at_ += sizeof(T);
    return true;
  }
  size_t at() const { return at_; }
  bool done() const { return at_ == bytes_.size(); }

 private:
  std::string_view bytes_;
  size_t at_ = 0;
};

bool ReadEntry(Reader& reader, RepackEntry& entry) {
  uint16_t name = 0;
  uint32_t type = 0;
  uint8_t layout = 0;
  const bool whole = reader.Number(name) && reader.Text(name, entry.name) && reader.Number(type) &&
                     reader.Number(entry.rows) && reader.Number(entry.cols) &&
                     reader.Number(layout) && reader.Number(entry.offset) &&
                     reader.Number(entry.bytes);
  entry.type = static_cast<DType>(type);
  entry.layout = static_cast<cpu::Layout>(layout);
  return whole;
}

// A matrix of this shape and type has exactly these bytes, and they lie in the file after `end`.
bool EntryFits(const RepackEntry& entry, uint64_t end, uint64_t file_bytes) {
  const std::optional<uint64_t> bytes = PackedBytes(entry.type, entry.rows, entry.cols);
  return bytes == entry.bytes && PackedLayout(entry.type) == entry.layout &&
         entry.offset == Align(end) && entry.offset <= file_bytes &&
         entry.bytes <= file_bytes - entry.offset;
}

}  // namespace

uint64_t RepackIndex::Place() {
  uint64_t end = kHeadBytes + kShaDigits + 4;
  for (const RepackEntry& entry : entries) end += EntryBytes(entry);
  for (RepackEntry& entry : entries) {
    entry.offset = Align(end);
    end = entry.offset + entry.bytes;
  }
  return end;
}

std::string SerializeRepackHeader(const RepackIndex& index, const RepackKey& key) {
  WEFT_CHECK(index.weights_sha256.size() == kShaDigits);
  std::string body = index.weights_sha256;
  Append(body, static_cast<uint32_t>(index.entries.size()));
  for (const RepackEntry& entry : index.entries) {
    Append(body, static_cast<uint16_t>(entry.name.size()));
    body += entry.name;
    Append(body, static_cast<uint32_t>(entry.type));
    Append(body, entry.rows);
    Append(body, entry.cols);
    Append(body, static_cast<uint8_t>(entry.layout));
    Append(body, entry.offset);
    Append(body, entry.bytes);
  }
  std::string out(kMagic);
  Append(out, kVersion);
  Append(out, static_cast<uint32_t>(body.size()));
  out += View(key);
  out += View(Checksum(key, body));
  return out + body;
}

absl::StatusOr<RepackIndex> ParseRepackFile(std::string_view file, const RepackKey& key) {
  if (file.size() < kHeadBytes || file.substr(0, kMagic.size()) != kMagic) {
    return DataLoss("repacked weights: not such a file");
  }
  Reader head(file.substr(kMagic.size(), 8));
  uint32_t version = 0;
  uint32_t body_bytes = 0;
  WEFT_CHECK(head.Number(version) && head.Number(body_bytes));
  if (version != kVersion) {
    return FailedPrecondition("repacked weights: version {}, expected {}", version, kVersion);
  }
  if (file.substr(16, 32) != View(key)) {
    return FailedPrecondition("repacked weights: made of another model, or in another way");
  }
  if (body_bytes > kMaxBodyBytes || body_bytes > file.size() - kHeadBytes) {
    return DataLoss("repacked weights: offset 12: an index of {} bytes in a file of {}", body_bytes,
                    file.size());
  }
  const std::string_view body = file.substr(kHeadBytes, body_bytes);
  if (file.substr(48, 32) != View(Checksum(key, body))) {
    return DataLoss("repacked weights: offset 48: the checksum of the index is wrong");
  }

  RepackIndex index;
  Reader reader(body);
  uint32_t count = 0;
  if (!reader.Text(kShaDigits, index.weights_sha256) || !reader.Number(count)) {
    return DataLoss("repacked weights: offset {}: the index ends early", kHeadBytes + reader.at());
  }
  uint64_t end = kHeadBytes + body_bytes;
  for (uint32_t i = 0; i < count; ++i) {
    const size_t at = kHeadBytes + reader.at();
    RepackEntry entry;
    if (!ReadEntry(reader, entry)) {
      return DataLoss("repacked weights: offset {}: the index ends early", at);
    }
    if (!EntryFits(entry, end, file.size())) {
      return DataLoss("repacked weights: offset {}: matrix {} is not where it should be", at, i);
    }
    end = entry.offset + entry.bytes;
    index.entries.push_back(std::move(entry));
  }
  if (!reader.done() || end != file.size()) {
    return DataLoss("repacked weights: offset {}: more than the index says", end);
  }
  return index;
}

}  // namespace weft
