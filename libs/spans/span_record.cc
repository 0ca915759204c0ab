#include "libs/spans/span_record.h"

#include <zlib.h>

#include <bit>
#include <cstring>

namespace weft::spans {
namespace {

static_assert(std::endian::native == std::endian::little, "records are written as they lie");

constexpr std::string_view kMagic = "WSR1";
constexpr size_t kCoveredFrom = 4;
constexpr size_t kCrcAt = 16;

uint32_t Crc(uint32_t payload_bytes, uint64_t sequence, std::string_view payload) {
  unsigned char head[kCrcAt - kCoveredFrom];
  std::memcpy(head, &payload_bytes, sizeof(payload_bytes));
  std::memcpy(head + sizeof(payload_bytes), &sequence, sizeof(sequence));
  const uLong crc = crc32_z(crc32_z(0, nullptr, 0), head, sizeof(head));
  if (payload.empty()) return static_cast<uint32_t>(crc);  // a null pointer means something else
  return static_cast<uint32_t>(
      crc32_z(crc, reinterpret_cast<const Bytef*>(payload.data()), payload.size()));
}

}  // namespace

std::string FrameRecord(uint64_t sequence, std::string_view payload) {
  const auto size = static_cast<uint32_t>(payload.size());
  const uint32_t crc = Crc(size, sequence, payload);
  std::string out;
  out.reserve(kRecordHeaderBytes + payload.size());
  out += kMagic;
  out.append(reinterpret_cast<const char*>(&size), sizeof(size));
  out.append(reinterpret_cast<const char*>(&sequence), sizeof(sequence));
  out.append(reinterpret_cast<const char*>(&crc), sizeof(crc));
  out += payload;
  return out;
}

std::optional<RecordHeader> ParseRecordHeader(std::string_view bytes) {
  if (bytes.size() < kRecordHeaderBytes || bytes.substr(0, kMagic.size()) != kMagic) {
    return std::nullopt;
  }
  RecordHeader header;
  std::memcpy(&header.payload_bytes, bytes.data() + kCoveredFrom, sizeof(header.payload_bytes));
  std::memcpy(&header.sequence, bytes.data() + kCoveredFrom + 4, sizeof(header.sequence));
  std::memcpy(&header.crc, bytes.data() + kCrcAt, sizeof(header.crc));
  if (header.payload_bytes > kMaxRecordBytes) return std::nullopt;
  return header;
}

bool RecordIsWhole(const RecordHeader& header, std::string_view payload) {
  return payload.size() == header.payload_bytes &&
         Crc(header.payload_bytes, header.sequence, payload) == header.crc;
}

std::optional<FoundRecord> FindRecord(std::string_view bytes, size_t from) {
  size_t budget = 8 * bytes.size();
  while ((from = bytes.find(kMagic, from)) != std::string_view::npos) {
    const auto header = ParseRecordHeader(bytes.substr(from));
    const size_t payload_at = from + kRecordHeaderBytes;
    if (header && header->payload_bytes <= bytes.size() - payload_at) {
      const std::string_view payload = bytes.substr(payload_at, header->payload_bytes);
      if (RecordIsWhole(*header, payload)) return FoundRecord{from, header->sequence, payload};
      if (payload.size() > budget) return std::nullopt;
      budget -= payload.size();
    }
    ++from;
  }
  return std::nullopt;
}

}  // namespace weft::spans
