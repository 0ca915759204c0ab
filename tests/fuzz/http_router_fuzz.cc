// Paths, queries and headers as clients may send them, against the router and the decoders.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "libs/http/router.h"

namespace {

const weft::http::Router& Sample() {
  static const weft::http::Router router = [] {
    weft::http::Router r;
    for (const char* pattern :
         {"/", "/v1/models", "/v1/models/{id}", "/v1/{a}/b/{c}", "/models/default"}) {
      if (!r.Add("GET", pattern, nullptr).ok()) std::abort();
    }
    return r;
  }();
  return router;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto match = Sample().Find("GET", text);
  // What matched has as many non-empty parameters as its pattern, none with a NUL.
  for (const auto& [name, value] : match.params) {
    if (name.empty() || value.find('\0') != std::string::npos) std::abort();
  }
  if (match.route != nullptr && !match.allow.empty()) std::abort();
  weft::http::Request request;
  request.query = text;
  request.QueryParam("id");
  weft::http::Headers headers;
  headers.Add("Connection", text);
  headers.HasToken("connection", "close");
  return 0;
}
