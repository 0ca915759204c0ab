// The framing of records in the disk queue's segment files:
//
//   magic "WSR1" | payload bytes (u32) | sequence (u64) | CRC-32 (u32) | payload      little endian
//
// The CRC (zlib's, IEEE 802.3) covers length, sequence and payload, so a record is whole or it is
// none. After a damaged stretch the next whole record is found by its magic.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace weft::spans {

constexpr size_t kRecordHeaderBytes = 20;
// A larger length is damage. The collector's requests are bounded far below.
constexpr size_t kMaxRecordBytes = size_t{1} << 30;

struct RecordHeader {
  uint32_t payload_bytes = 0;
  uint64_t sequence = 0;
  uint32_t crc = 0;
};

// At most kMaxRecordBytes of payload.
std::string FrameRecord(uint64_t sequence, std::string_view payload);

// nullopt: these kRecordHeaderBytes do not begin a record.
std::optional<RecordHeader> ParseRecordHeader(std::string_view bytes);
bool RecordIsWhole(const RecordHeader& header, std::string_view payload);

struct FoundRecord {
  size_t begin = 0;  // of the record in the bytes that were searched
  uint64_t sequence = 0;
  std::string_view payload;
};
// The first whole record at or after `from`. Bytes made to look like many records cost at most
// eight times their own checksum; then nothing is found.
std::optional<FoundRecord> FindRecord(std::string_view bytes, size_t from);

}  // namespace weft::spans
