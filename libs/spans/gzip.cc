#include "libs/spans/gzip.h"

#include <zlib.h>

#include <algorithm>
#include <memory>

#include "libs/base/status.h"

namespace weft::spans {
namespace {

constexpr int kGzipOnly = 15 + 16;  // zlib's way to say: the largest window, a gzip header

}  // namespace

absl::StatusOr<std::string> Gunzip(std::string_view compressed, size_t max_bytes) {
  z_stream stream{};
  if (inflateInit2(&stream, kGzipOnly) != Z_OK) return Internal("gzip: no memory");
  const std::unique_ptr<z_stream, int (*)(z_stream*)> end(&stream, inflateEnd);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(compressed.data()));
  stream.avail_in = static_cast<uInt>(compressed.size());
  std::string out;
  while (true) {
    const size_t done = out.size();
    // One byte beyond the limit tells "too large" from "exactly full".
    const size_t room = std::min(max_bytes + 1 - done, std::max<size_t>(done, 16 << 10));
    if (room == 0) return OutOfRange("the unpacked body has more than {} bytes", max_bytes);
    out.resize(done + room);
    stream.next_out = reinterpret_cast<Bytef*>(out.data() + done);
    stream.avail_out = static_cast<uInt>(room);
    const int result = inflate(&stream, Z_NO_FLUSH);
    out.resize(done + room - stream.avail_out);
    if (out.size() > max_bytes) {
      return OutOfRange("the unpacked body has more than {} bytes", max_bytes);
    }
    if (result == Z_STREAM_END) {
      if (stream.avail_in == 0) return out;
      // RFC 1952 section 2.2: members may follow one another.
      if (inflateReset(&stream) != Z_OK) return Internal("gzip: reset failed");
      continue;
    }
    if (result == Z_BUF_ERROR || (result == Z_OK && stream.avail_in == 0 && stream.avail_out > 0)) {
      return InvalidArgument("the gzip body is cut off");
    }
    if (result != Z_OK) return InvalidArgument("the body is not gzip");
  }
}

std::string Gzip(std::string_view text) {
  z_stream stream{};
  WEFT_CHECK(deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kGzipOnly, 8,
                          Z_DEFAULT_STRATEGY) == Z_OK);
  std::string out(deflateBound(&stream, static_cast<uLong>(text.size())) + 32, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  WEFT_CHECK(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

}  // namespace weft::spans
