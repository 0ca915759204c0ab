// A file from a server to a path: resumed where it stopped, checked, and there complete or not at
// all.
//
// While it comes it is PATH.part, and PATH.part.json says of which version it is. Another process
// that downloads the same PATH waits. PATH.pulled says what PATH was when it was checked: a file
// that is still that one is not fetched, nor read, again.
#pragma once

#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "libs/fetch/source.h"

namespace weft::fetch {

struct Progress {
  std::string name;
  uint64_t done = 0;   // bytes on disk, of this file
  uint64_t total = 0;  // 0: the server did not say
};

struct DownloadOptions {
  HttpOptions http;
  int tries = 8;  // in a row without one more byte
  std::chrono::milliseconds first_wait{1'000};
  std::chrono::milliseconds longest_wait{30'000};
  std::function<void(const Progress&)> progress;  // for every piece; may be null
  std::function<void(const std::string&)> say;    // one line about a try that failed; may be null
};

struct Downloaded {
  uint64_t bytes = 0;
  std::string sha256;
  bool was_there = false;  // nothing was fetched
};

// Blocks. Errors name the URL or the path: NOT_FOUND, UNAUTHENTICATED, PERMISSION_DENIED,
// FAILED_PRECONDITION as of HttpGet; UNAVAILABLE or DEADLINE_EXCEEDED after the last try;
// RESOURCE_EXHAUSTED when the file system has less room than the file needs (said before the first
// byte, with both numbers) or is full; DATA_LOSS when the SHA-256 is another (the part is then
// removed); CANCELLED. After every other error what came is kept, and the next call goes on there.
absl::StatusOr<Downloaded> Download(const RemoteFile& file, const std::string& path,
                                    const DownloadOptions& options);

}  // namespace weft::fetch
