// A whole file in memory, read only.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace weft {

// Owns the mapping; movable. contents() stay where they are when it moves. A file that is truncated
// by somebody while it is mapped raises SIGBUS on access: replace such files by rename.
class MappedFile {
 public:
  // NOT_FOUND, FAILED_PRECONDITION (permissions …), INVALID_ARGUMENT (not a regular file) or
  // RESOURCE_EXHAUSTED. `what` goes into the message: "cannot open <what> '<path>': …".
  static absl::StatusOr<MappedFile> Open(const std::string& path, std::string_view what);

  MappedFile() = default;  // no contents
  MappedFile(MappedFile&& other) noexcept : contents_(std::exchange(other.contents_, {})) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(contents_, other.contents_);
    return *this;
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::string_view contents() const { return contents_; }

 private:
  std::string_view contents_;
};

// Lets the kernel take back the pages that lie wholly inside a part of a mapped file; they return
// when they are touched.
void ReleasePages(const void* data, uint64_t bytes);

}  // namespace weft
