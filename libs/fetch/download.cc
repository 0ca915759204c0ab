#include "libs/fetch/download.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "libs/base/atomic_file.h"
#include "libs/base/status.h"
#include "libs/fetch/digest.h"
#include "libs/json/strict_json.h"

namespace weft::fetch {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

std::string Why() { return std::strerror(errno); }

absl::Status OfErrno(const std::string& path, std::string_view what) {
  const bool full = errno == ENOSPC || errno == EDQUOT;
  return MakeStatus(
      full ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kFailedPrecondition,
      fmt::format("{}: cannot {}: {}", path, what, Why()));
}

json ReadJson(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return json::object();
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const absl::StatusOr<json> parsed = ParseStrictJson(text);
  return parsed.ok() && parsed->is_object() ? *parsed : json::object();
}

absl::Status WriteJson(const std::string& path, const json& value) {
  WEFT_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  WEFT_RETURN_IF_ERROR(file.Append(value.dump()));
  return file.Commit();
}

// What tells a file from another one under the same name without reading it.
json Identity(const struct stat& s) {
  return {
      {"size", static_cast<uint64_t>(s.st_size)},
      {"modified_ns", static_cast<int64_t>(s.st_mtim.tv_sec) * 1'000'000'000 + s.st_mtim.tv_nsec}};
}

class Transfer {
 public:
  Transfer(const RemoteFile& file, const std::string& path, const DownloadOptions& options)
      : file_(file), path_(path), part_(path + ".part"), options_(options) {}
  ~Transfer() {
    if (fd_ >= 0) ::close(fd_);
  }

  absl::StatusOr<Downloaded> Run() {
    if (const auto there = Present(); there.was_there) return there;
    WEFT_RETURN_IF_ERROR(OpenPart());
    if (const auto there = Present(); there.was_there) {  // while we waited
      ::unlink(part_.c_str());
      return there;
    }
    WEFT_RETURN_IF_ERROR(Continue());
    WEFT_RETURN_IF_ERROR(FetchAll());
    return Finish();
  }

 private:
  // The file itself, if it is what was checked once, or has the SHA-256 that is asked for.
  Downloaded Present() const {
    struct stat s {};
    if (::stat(path_.c_str(), &s) != 0 || !S_ISREG(s.st_mode)) return {};
    const json stamp = ReadJson(path_ + ".pulled");
    const auto sum = stamp.find("sha256");
    if (sum == stamp.end() || !sum->is_string()) return {};
    const bool same = stamp.value("identity", json()) == Identity(s);
    const bool wanted = file_.sha256.empty() ? stamp.value("url", json()) == ShownUrl(file_.url)
                                             : *sum == file_.sha256;
    if (!same || !wanted) return {};
    return {static_cast<uint64_t>(s.st_size), sum->get<std::string>(), true};
  }

  absl::Status OpenPart() {
    std::error_code error;
    const std::filesystem::path folder = std::filesystem::path(path_).parent_path();
    if (!folder.empty()) std::filesystem::create_directories(folder, error);
    if (error)
      return FailedPrecondition("{}: cannot be made: {}", folder.string(), error.message());
    for (;;) {
      fd_ = ::open(part_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
      if (fd_ < 0) return OfErrno(part_, "open");
      if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK) return OfErrno(part_, "lock");
        Say(fmt::format("{}: another process downloads it; waiting", path_));
        while (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
          if (Interrupted()) return Cancelled("{}: interrupted", path_);
          std::this_thread::sleep_for(milliseconds(100));
        }
      }
      // What was locked may have been renamed or removed since it was opened.
      struct stat mine {
      }, named{};
      if (::fstat(fd_, &mine) == 0 && ::stat(part_.c_str(), &named) == 0 &&
          mine.st_ino == named.st_ino && mine.st_dev == named.st_dev) {
        return absl::OkStatus();
      }
      ::close(fd_);
    }
  }

  // Takes over what an earlier call left, where it is known to be the beginning of this file.
  absl::Status Continue() {
    const json meta = ReadJson(part_ + ".json");
    const bool same_sum = !file_.sha256.empty() && meta.value("sha256", json()) == file_.sha256;
    const bool same_url = meta.value("url", json()) == ShownUrl(file_.url);
    const auto etag = meta.find("etag");
    if (same_url && etag != meta.end() && etag->is_string()) etag_ = etag->get<std::string>();
    struct stat s {};
    if (::fstat(fd_, &s) != 0) return OfErrno(part_, "look at");
    if (s.st_size == 0 || (!same_sum && etag_.empty())) return Restart();
    std::vector<char> buffer(1 << 20);
    while (done_ < static_cast<uint64_t>(s.st_size)) {
      if (Interrupted()) return Cancelled("{}: interrupted", path_);
      const ssize_t n = ::pread(fd_, buffer.data(), buffer.size(), static_cast<off_t>(done_));
      if (n < 0) return OfErrno(part_, "read");
      if (n == 0) break;
      sum_.Add({buffer.data(), static_cast<size_t>(n)});
      done_ += static_cast<uint64_t>(n);
    }
    if (file_.size > 0 && done_ > file_.size) return Restart();
    return absl::OkStatus();
  }

  absl::Status Restart() {
    sum_ = Sha256();
    done_ = 0;
    return ::ftruncate(fd_, 0) == 0 ? absl::OkStatus() : OfErrno(part_, "empty");
  }

  absl::Status FetchAll() {
    milliseconds wait = options_.first_wait;
    int left = options_.tries;
    bool renew = false;
    bool restarted = false;
    for (;;) {
      if (total_known() && done_ == total_) return absl::OkStatus();
      if (file_.size > 0 && done_ == file_.size) return absl::OkStatus();
      const uint64_t before = done_;
      HttpHead head;
      const absl::Status status = FetchOnce(renew, &head);
      renew = false;
      if (status.ok()) return absl::OkStatus();
      if (done_ > before) {
        left = options_.tries;
        wait = options_.first_wait;
      }
      const absl::StatusCode code = status.code();
      if (head.status == 401 && !refused_) {
        refused_ = renew = true;
        continue;
      }
      if (code == absl::StatusCode::kOutOfRange && !restarted) {
        // Complete already, or more than there is: the server has another file now.
        const auto range = ParseContentRange(head.content_range);
        if (range && range->total == done_ && done_ > 0) return absl::OkStatus();
        restarted = true;
        WEFT_RETURN_IF_ERROR(Restart());
        continue;
      }
      const bool transient =
          code == absl::StatusCode::kUnavailable || code == absl::StatusCode::kDeadlineExceeded;
      if (!transient || --left <= 0) return status;
      const milliseconds pause = std::min<milliseconds>(
          head.retry_after.value_or(std::chrono::seconds(0)), milliseconds(300'000));
      Say(fmt::format("{}; going on at byte {} in {:.1f} s", Message(status), done_,
                      static_cast<double>(std::max(wait, pause).count()) / 1000));
      WEFT_RETURN_IF_ERROR(Sleep(std::max(wait, pause)));
      wait = std::min(wait * 2, options_.longest_wait);
    }
  }

  absl::Status FetchOnce(bool renew, HttpHead* head) {
    WEFT_ASSIGN_OR_RETURN(auto headers, file_.headers(renew));
    HttpRequest request{.url = file_.url, .headers = std::move(headers), .offset = done_};
    // With a SHA-256 the whole is checked in any case.
    if (!etag_.empty() && !etag_.starts_with("W/")) request.if_range = etag_;
    HttpHandlers handlers;
    handlers.head = [this](const HttpHead& h) { return OnHead(h); };
    handlers.body = [this](std::string_view bytes) { return OnBody(bytes); };
    return HttpGet(request, options_.http, handlers, head);
  }

  absl::Status OnHead(const HttpHead& head) {
    refused_ = false;
    total_ = 0;
    if (head.status == 206) {
      const auto range = ParseContentRange(head.content_range);
      if (!range || range->first != done_) {
        return FailedPrecondition("{}: asked for bytes from {}, the server sends '{}'",
                                  ShownUrl(file_.url), done_, head.content_range.substr(0, 100));
      }
      total_ = range->total;
    } else {
      if (done_ > 0) {
        Say(fmt::format("{}: it cannot be resumed (or is another file now); from the beginning",
                        ShownUrl(file_.url)));
        WEFT_RETURN_IF_ERROR(Restart());
      }
      total_ = head.length.value_or(0);
    }
    if (file_.size > 0 && total_ > 0 && total_ != file_.size) {
      return DataLoss("{}: has {} bytes, the manifest says {}", ShownUrl(file_.url), total_,
                      file_.size);
    }
    if (total_ == 0) total_ = file_.size;
    etag_ = head.etag.starts_with("W/") ? "" : head.etag;
    WEFT_RETURN_IF_ERROR(
        WriteJson(part_ + ".json",
                  {{"url", ShownUrl(file_.url)}, {"etag", etag_}, {"sha256", file_.sha256}}));
    return Reserve();
  }

  absl::Status Reserve() {
    if (total_ <= done_) return absl::OkStatus();
    const uint64_t needed = total_ - done_;
    struct statvfs fs {};
    if (::fstatvfs(fd_, &fs) != 0) return OfErrno(part_, "look at the file system");
    // What an earlier call reserved for this file is not free, but ours.
    struct stat s {};
    uint64_t ours = 0;
    if (::fstat(fd_, &s) == 0) {
      const uint64_t held = static_cast<uint64_t>(s.st_blocks) * 512;
      ours = held > done_ ? held - done_ : 0;
    }
    const uint64_t room = static_cast<uint64_t>(fs.f_bavail) * fs.f_frsize + ours;
    if (room < needed) {
      return ResourceExhausted("{}: {} bytes are to come, the file system has room for {}", path_,
                               needed, room);
    }
    if (::fallocate(fd_, FALLOC_FL_KEEP_SIZE, static_cast<off_t>(done_),
                    static_cast<off_t>(needed)) != 0 &&
        errno == ENOSPC) {
      return OfErrno(part_, fmt::format("keep {} bytes free", needed));
    }
    return absl::OkStatus();
  }

  absl::Status OnBody(std::string_view bytes) {
    if (total_known() && done_ + bytes.size() > total_) {
      return DataLoss("{}: sends more than the {} bytes it announced", ShownUrl(file_.url), total_);
    }
    while (!bytes.empty()) {
      const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(done_));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) {
        return OfErrno(part_, fmt::format("write beyond byte {}; what came is kept and goes on "
                                          "the next time",
                                          done_));
      }
      sum_.Add(bytes.substr(0, static_cast<size_t>(n)));
      done_ += static_cast<uint64_t>(n);
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    if (options_.progress) options_.progress({file_.name, done_, total_});
    return absl::OkStatus();
  }

  absl::StatusOr<Downloaded> Finish() {
    const std::string sum = sum_.Hex();
    if (!file_.sha256.empty() && sum != file_.sha256) {
      ::unlink(part_.c_str());
      ::unlink((part_ + ".json").c_str());
      return DataLoss("{}: its SHA-256 is {}, expected {}; what came was removed",
                      ShownUrl(file_.url), sum, file_.sha256);
    }
    struct stat s {};
    // Before the name: whoever finds the file finds all of it. What was reserved and not needed
    // goes.
    if (::ftruncate(fd_, static_cast<off_t>(done_)) != 0 || ::fsync(fd_) != 0 ||
        ::fstat(fd_, &s) != 0 || ::rename(part_.c_str(), path_.c_str()) != 0) {
      return OfErrno(path_, "complete");
    }
    ::unlink((part_ + ".json").c_str());
    WEFT_RETURN_IF_ERROR(
        WriteJson(path_ + ".pulled",
                  {{"url", ShownUrl(file_.url)}, {"sha256", sum}, {"identity", Identity(s)}}));
    return Downloaded{done_, sum, false};
  }

  bool total_known() const { return total_ > 0; }
  bool Interrupted() const {
    return options_.http.cancel != nullptr && options_.http.cancel->load();
  }
  void Say(const std::string& line) const {
    if (options_.say) options_.say(line);
  }
  absl::Status Sleep(milliseconds time) const {
    const auto end = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < end) {
      if (Interrupted()) return Cancelled("{}: interrupted", path_);
      std::this_thread::sleep_for(std::min(time, milliseconds(50)));
    }
    return absl::OkStatus();
  }

  const RemoteFile& file_;
  const std::string path_;
  const std::string part_;
  const DownloadOptions& options_;
  int fd_ = -1;
  Sha256 sum_;            // of the first done_ bytes
  uint64_t done_ = 0;     // bytes of the part
  uint64_t total_ = 0;    // 0: not known
  std::string etag_;      // of the version that the part is the beginning of
  bool refused_ = false;  // the last answer was a 401
};

}  // namespace

absl::StatusOr<Downloaded> Download(const RemoteFile& file, const std::string& path,
                                    const DownloadOptions& options) {
  return Transfer(file, path, options).Run();
}

}  // namespace weft::fetch
