// Content coding of whole answers.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "libs/http/message.h"

namespace weft::http {

// Whether an Accept-Encoding header takes gzip (RFC 9110 section 12.5.3): named, or by "*", and not
// with q=0. Absent: no.
bool AcceptsGzip(const Headers& headers);

// Compresses the body of an answer that has at least kMinCompressedBytes of text or JSON when the
// client takes it, and says so in Content-Encoding; such an answer has Vary: Accept-Encoding either
// way. Left as they are: what has a Content-Encoding already, streams of events, and what says
// Cache-Control: no-store, since the length of a compressed secret beside text that others chose
// tells about it (BREACH).
inline constexpr size_t kMinCompressedBytes = 1024;
void Compress(const Request& request, Response& response);

}  // namespace weft::http
