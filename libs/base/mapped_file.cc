#include "libs/base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "libs/base/status.h"

namespace weft {

absl::StatusOr<MappedFile> MappedFile::Open(const std::string& path, std::string_view what) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    const std::string why = std::generic_category().message(errno);
    if (errno == ENOENT) return NotFound("cannot open {} '{}': {}", what, path, why);
    return FailedPrecondition("cannot open {} '{}': {}", what, path, why);
  }
  struct stat info {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    return InvalidArgument("{} '{}' is not a regular file", what, path);
  }
  MappedFile file;
  const auto size = static_cast<size_t>(info.st_size);
  if (size > 0) {
    void* mapping = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
    if (mapping == MAP_FAILED) {
      const std::string why = std::generic_category().message(errno);
      ::close(fd);
      return ResourceExhausted("cannot map {} '{}': {}", what, path, why);
    }
    file.contents_ = {static_cast<const char*>(mapping), size};
  }
  ::close(fd);
  return file;
}

MappedFile::~MappedFile() {
  // munmap takes what mmap gave, without const.
  if (!contents_.empty()) ::munmap(const_cast<char*>(contents_.data()), contents_.size());
}

void ReleasePages(const void* data, uint64_t bytes) {
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const auto address = reinterpret_cast<uintptr_t>(data);
  const uint64_t begin = (address + page - 1) / page * page;
  const uint64_t end = (address + bytes) / page * page;
  // NOLINTNEXTLINE(performance-no-int-to-ptr): madvise takes an address.
  if (end > begin) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace weft
