#include "libs/model/repack_cache.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "libs/base/atomic_file.h"
#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/model/sha256.h"

namespace weft {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSuffix = ".weftpack";
// Of each file of a model: metadata and tensor names of a GGUF file, the index of a safetensors
// one.
constexpr uint64_t kHashedBytes = 8u << 20;
// A writer that was killed leaves its file behind; one that works is never so old.
constexpr auto kUnfinishedLives = std::chrono::hours(1);

std::string LastError() { return std::generic_category().message(errno); }

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

// The files that make up the model at `path`, sorted.
std::vector<fs::path> ModelFiles(const fs::path& path) {
  std::vector<fs::path> files;
  std::error_code error;
  const auto collect = [&](const fs::path& folder, const auto& wanted) {
    for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
      if (wanted(it->path())) files.push_back(it->path());
    }
  };
  const std::string name = path.filename().string();
  const size_t part = name.find("-00001-of-");
  if (fs::is_directory(path, error)) {
    collect(path, [](const fs::path& file) {
      return file.extension() == ".safetensors" || file.extension() == ".json";
    });
  } else if (part != std::string::npos) {
    collect(path.has_parent_path() ? path.parent_path() : fs::path("."), [&](const fs::path& file) {
      return file.filename().string().compare(0, part, name, 0, part) == 0 &&
             file.extension() == path.extension();
    });
  } else {
    files.push_back(path);
  }
  std::sort(files.begin(), files.end());
  return files;
}

void AddNumber(int64_t value, Sha256& hash) {
  std::array<char, sizeof(value)> bytes{};
  std::memcpy(bytes.data(), &value, sizeof(value));
  hash.Add({bytes.data(), bytes.size()});
}

absl::Status AddFile(const std::string& path, Sha256& hash) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat info {};
  if (file.get() < 0 || ::fstat(file.get(), &info) != 0) {
    return FailedPrecondition("cannot open '{}': {}", path, LastError());
  }
  for (const int64_t number :
       {int64_t{info.st_size}, int64_t{info.st_mtim.tv_sec}, int64_t{info.st_mtim.tv_nsec}}) {
    AddNumber(number, hash);
  }
  std::vector<char> buffer(1u << 20);
  for (uint64_t done = 0; done < kHashedBytes;) {
    const ssize_t got = ::read(file.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FailedPrecondition("cannot read '{}': {}", path, LastError());
    if (got == 0) break;
    hash.Add({buffer.data(), static_cast<size_t>(got)});
    done += static_cast<uint64_t>(got);
  }
  return absl::OkStatus();
}

// The cache's files, those used longest ago first.
struct KeptFile {
  fs::path path;
  uint64_t bytes = 0;
  fs::file_time_type used;
};
std::vector<KeptFile> KeptFiles(const std::string& folder) {
  std::vector<KeptFile> files;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const bool finished = it->path().extension() == kSuffix;
    // AtomicFile adds an extension until it is done.
    if (!finished && it->path().stem().extension() != kSuffix) continue;
    std::error_code gone;
    KeptFile file{it->path(), it->file_size(gone), it->last_write_time(gone)};
    if (gone) continue;
    if (!finished && fs::file_time_type::clock::now() - file.used < kUnfinishedLives) continue;
    files.push_back(std::move(file));
  }
  std::sort(files.begin(), files.end(),
            [](const KeptFile& a, const KeptFile& b) { return a.used < b.used; });
  return files;
}

}  // namespace

absl::StatusOr<RepackKey> RepackKeyOf(const std::string& model_path) {
  Sha256 hash;
  AddNumber(kRepackRevision, hash);
  for (const fs::path& file : ModelFiles(model_path)) {
    WEFT_RETURN_IF_ERROR(AddFile(file.string(), hash));
  }
  return hash.Digest();
}

RepackCache::RepackCache(const RepackCacheOptions& options, const std::string& model_path)
    : options_(options) {
  absl::StatusOr<RepackKey> key = RepackKeyOf(model_path);
  if (key.ok()) key_ = *key;
  found_ = key.ok() ? Find() : key.status();
}

std::string RepackCache::path() const {
  return (fs::path(options_.folder) / (Hex(*key_) + kSuffix)).string();
}

absl::Status RepackCache::Find() {
  absl::StatusOr<MappedFile> file = MappedFile::Open(path(), "repacked weights");
  if (!file.ok()) {
    return file.status().code() == absl::StatusCode::kNotFound ? absl::OkStatus() : file.status();
  }
  auto mapped = std::make_shared<MappedFile>(*std::move(file));
  absl::StatusOr<RepackIndex> index = ParseRepackFile(mapped->contents(), *key_);
  if (!index.ok()) return Annotate(index.status(), path());
  index_ = *std::move(index);
  mapped_ = std::move(mapped);
  // Wishes: huge pages where the file system has them, and reading ahead.
  auto* begin = const_cast<char*>(mapped_->contents().data());
  ::madvise(begin, mapped_->contents().size(), MADV_HUGEPAGE);
  ::madvise(begin, mapped_->contents().size(), MADV_WILLNEED);
  ::utimensat(AT_FDCWD, path().c_str(), nullptr, 0);  // used now
  return absl::OkStatus();
}

bool RepackCache::Take(const std::string& name, const Weight& raw, Weight& weight) {
  if (mapped_ == nullptr || next_ >= index_.entries.size()) return false;
  const RepackEntry& entry = index_.entries[next_++];
  if (entry.name != name || entry.type != raw.type || entry.rows != raw.rows ||
      entry.cols != raw.cols) {
    return false;
  }
  const auto* data = reinterpret_cast<const uint8_t*>(mapped_->contents().data());
  weight = raw;
  weight.layout = entry.layout;
  weight.packed = data + entry.offset;
  weight.packed_bytes = entry.bytes;
  weight.owner = std::shared_ptr<const uint8_t>(mapped_, weight.packed);
  ++taken_;
  return true;
}

void RepackCache::Record(const std::string& name, const Weight& weight) {
  recorded_.emplace_back(name, weight);
}

absl::Status RepackCache::MakeRoom(uint64_t bytes) const {
  std::error_code error;
  fs::create_directories(options_.folder, error);
  if (error) return FailedPrecondition("cannot make '{}': {}", options_.folder, error.message());
  const std::vector<KeptFile> kept = KeptFiles(options_.folder);
  uint64_t all = bytes;
  for (const KeptFile& file : kept) all += file.bytes;
  for (const KeptFile& file : kept) {
    if (all <= options_.max_bytes) break;
    if (fs::remove(file.path, error)) all -= file.bytes;
  }
  return absl::OkStatus();
}

absl::Status RepackCache::Store(const std::string& weights_sha256) const {
  if (!key_.has_value()) return found_;
  RepackIndex index{.weights_sha256 = weights_sha256, .entries = {}};
  for (const auto& [name, weight] : recorded_) {
    index.entries.push_back({name.substr(0, UINT16_MAX), weight.type, weight.rows, weight.cols,
                             weight.layout, 0, weight.packed_bytes});
  }
  const uint64_t bytes = index.Place();
  if (bytes > options_.max_bytes) {
    return ResourceExhausted("repacked weights of {} bytes are more than the cache may hold ({})",
                             bytes, options_.max_bytes);
  }
  WEFT_RETURN_IF_ERROR(MakeRoom(bytes));
  WEFT_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path(), bytes));
  WEFT_RETURN_IF_ERROR(file.Append(SerializeRepackHeader(index, *key_)));
  for (size_t i = 0; i < recorded_.size(); ++i) {
    const Weight& weight = recorded_[i].second;
    const std::string padding(index.entries[i].offset - file.bytes(), '\0');
    WEFT_RETURN_IF_ERROR(file.Append(padding));
    WEFT_RETURN_IF_ERROR(
        file.Append({reinterpret_cast<const char*>(weight.packed), weight.packed_bytes}));
  }
  return file.Commit();
}

}  // namespace weft
