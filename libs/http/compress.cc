#include "libs/http/compress.h"

#include <zlib.h>

#include <optional>

namespace weft::http {
namespace {

constexpr size_t kMaxBytes = 16 << 20;  // beyond, it would hold up its thread
constexpr int kLevel = 4;
constexpr int kGzipWindow = 15 + 16;

std::string_view Trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

// "0", "0.0", "0.00", "0.000".
bool IsZero(std::string_view q) {
  return !q.empty() && q.front() == '0' && q.find_first_not_of("0.") == std::string_view::npos;
}

bool IsText(std::string_view type) {
  const std::string_view media = Trim(type.substr(0, type.find(';')));
  if (media == "text/event-stream") return false;
  return media == "application/json" || media.substr(0, 5) == "text/" ||
         (media.size() > 5 && media.substr(media.size() - 5) == "+json");
}

std::optional<std::string> Gzip(const std::string& text) {
  z_stream stream{};
  if (deflateInit2(&stream, kLevel, Z_DEFLATED, kGzipWindow, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    return std::nullopt;
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  const int result = deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  if (result != Z_STREAM_END || out.size() >= text.size()) return std::nullopt;
  return out;
}

}  // namespace

bool AcceptsGzip(const Headers& headers) {
  std::optional<bool> gzip;
  bool any = false;
  for (const auto& field : headers.fields()) {
    if (!EqualsIgnoreCase(field.name, "Accept-Encoding")) continue;
    std::string_view rest = field.value;
    while (true) {
      const size_t comma = rest.find(',');
      const std::string_view element = Trim(rest.substr(0, comma));
      const size_t semicolon = element.find(';');
      const std::string_view coding = Trim(element.substr(0, semicolon));
      bool wanted = true;
      if (semicolon != std::string_view::npos) {
        const std::string_view weight = Trim(element.substr(semicolon + 1));
        if (EqualsIgnoreCase(weight.substr(0, 2), "q=")) wanted = !IsZero(weight.substr(2));
      }
      if (EqualsIgnoreCase(coding, "gzip")) gzip = wanted;
      if (coding == "*") any = wanted;
      if (comma == std::string_view::npos) break;
      rest.remove_prefix(comma + 1);
    }
  }
  return gzip.value_or(any);
}

void Compress(const Request& request, Response& response) {
  if (response.body.size() < kMinCompressedBytes || response.body.size() > kMaxBytes) return;
  if (!IsText(response.headers.Get("Content-Type")) || response.headers.Has("Content-Encoding") ||
      response.headers.HasToken("Cache-Control", "no-store")) {
    return;
  }
  response.headers.Add("Vary", "Accept-Encoding");
  if (!AcceptsGzip(request.headers)) return;
  if (auto small = Gzip(response.body)) {
    response.body = *std::move(small);
    response.headers.Add("Content-Encoding", "gzip");
  }
}

}  // namespace weft::http
