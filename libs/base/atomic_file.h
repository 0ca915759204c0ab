// A file that appears under its name complete, or not at all.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace weft {

// Written beside its place under another name, and renamed by Commit. Without Commit it is removed.
// Not thread safe; movable.
class AtomicFile {
 public:
  // `expected_bytes`: RESOURCE_EXHAUSTED, with both numbers, when the file system has less room.
  static absl::StatusOr<AtomicFile> Create(const std::string& path, uint64_t expected_bytes = 0);

  AtomicFile(AtomicFile&& other) noexcept
      : path_(std::move(other.path_)),
        part_(std::move(other.part_)),
        fd_(std::exchange(other.fd_, -1)),
        bytes_(other.bytes_) {}
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();

  // Errors name the path.
  absl::Status Append(std::string_view bytes);
  uint64_t bytes() const { return bytes_; }  // appended so far
  // On disk under its name after this; replaces a file that was there.
  absl::Status Commit();

 private:
  AtomicFile(std::string path, std::string part, int fd)
      : path_(std::move(path)), part_(std::move(part)), fd_(fd) {}
  absl::Status Failed(std::string_view what) const;

  std::string path_;
  std::string part_;
  int fd_ = -1;
  uint64_t bytes_ = 0;
};

}  // namespace weft
