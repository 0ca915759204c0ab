#include "libs/spans/segment_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <utility>
#include <vector>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/spans/span_record.h"

namespace weft::spans {
namespace {

namespace fs = std::filesystem;
using SteadyClock = std::chrono::steady_clock;

constexpr std::string_view kSuffix = ".spans";
constexpr std::chrono::milliseconds kRetryAfter{1000};

// The bytes from `at` on, at most `size`: fewer when the file ends or cannot be read.
std::string ReadAt(int fd, uint64_t at, uint64_t size) {
  std::string out(size, '\0');
  size_t done = 0;
  while (done < size) {
    const ssize_t n = pread(fd, out.data() + done, size - done, static_cast<off_t>(at + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    done += static_cast<size_t>(n);
  }
  out.resize(done);
  return out;
}

bool WriteAt(int fd, uint64_t at, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
    at += static_cast<uint64_t>(n);
  }
  return true;
}

absl::Status DiskError(std::string_view path, int error) {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  return WithRetryAfter(
      MakeStatus(full ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kUnavailable,
                 fmt::format("cannot write {}: {}", path, std::strerror(error))),
      kRetryAfter);
}

}  // namespace

SegmentLog::Segment::~Segment() {
  if (fd >= 0) close(fd);
}

bool SegmentLog::Segment::MayHold(uint64_t sequence) const {
  return sequence >= first && sequence - first <= size / kRecordHeaderBytes;
}

absl::StatusOr<std::unique_ptr<SegmentLog>> SegmentLog::Open(const SegmentLogOptions& options) {
  std::unique_ptr<SegmentLog> log(new SegmentLog(options));
  WEFT_RETURN_IF_ERROR(log->Recover());
  return log;
}

SegmentLog::~SegmentLog() {
  Close();
  if (cursor_fd_ >= 0) close(cursor_fd_);
  if (lock_fd_ >= 0) close(lock_fd_);
}

absl::Status SegmentLog::Recover() {
  const fs::path directory = options_.directory;
  const auto open_here = [&](const char* name, int& fd) -> absl::Status {
    fd = open((directory / name).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0) return absl::OkStatus();
    return FailedPrecondition("cannot write {}: {}", (directory / name).string(),
                              std::strerror(errno));
  };
  std::error_code error;
  if (fs::create_directories(directory, error)) {
    fs::permissions(directory, fs::perms::owner_all, error);
  }
  WEFT_RETURN_IF_ERROR(open_here("lock", lock_fd_));
  if (flock(lock_fd_, LOCK_EX | LOCK_NB) != 0) {
    return FailedPrecondition("{} is used by another process", directory.string());
  }
  WEFT_RETURN_IF_ERROR(open_here("cursor", cursor_fd_));
  const std::string cursor = ReadAt(cursor_fd_, 0, kRecordHeaderBytes);
  // A damaged cursor only means that everything is read again.
  if (const auto header = ParseRecordHeader(cursor); header && RecordIsWhole(*header, "")) {
    written_cursor_ = header->sequence;
  }
  last_read_ = written_cursor_;
  next_sequence_ = written_cursor_ + 1;

  std::vector<std::string> paths;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    if (entry.path().extension() == kSuffix) paths.push_back(entry.path());
  }
  if (error) {
    return FailedPrecondition("cannot read {}: {}", directory.string(), error.message());
  }
  std::sort(paths.begin(), paths.end());
  for (const std::string& path : paths) WEFT_RETURN_IF_ERROR(Scan(path));
  return absl::OkStatus();
}

// Keeps the segment if there is something in it to be done.
absl::Status SegmentLog::Scan(const std::string& path) {
  auto segment = std::make_shared<Segment>();
  segment->path = path;
  segment->fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  const off_t size = segment->fd < 0 ? -1 : lseek(segment->fd, 0, SEEK_END);
  if (size < 0) return FailedPrecondition("cannot open {}: {}", path, std::strerror(errno));
  const std::string name = fs::path(path).stem();
  if (std::from_chars(name.data(), name.data() + name.size(), segment->first, 16).ec !=
      std::errc()) {
    return FailedPrecondition("{} is no segment of a span queue", path);
  }
  const std::string bytes = ReadAt(segment->fd, 0, static_cast<uint64_t>(size));
  for (auto found = FindRecord(bytes, 0); found; found = FindRecord(bytes, segment->size)) {
    segment->size = found->begin + kRecordHeaderBytes + found->payload.size();
    if (segment->MayHold(found->sequence)) {
      segment->last = std::max(segment->last, found->sequence);
    }
  }
  damaged_bytes_ += static_cast<uint64_t>(size) - segment->size;
  if (segment->last <= last_read_) {
    unlink(path.c_str());
    return absl::OkStatus();
  }
  next_sequence_ = std::max(next_sequence_, segment->last + 1);
  bytes_ += segment->size;
  segments_.push_back(std::move(segment));
  return absl::OkStatus();
}

absl::Status SegmentLog::Append(std::string_view payload) {
  if (payload.size() > kMaxRecordBytes) {
    return InvalidArgument("a record of {} bytes is too large", payload.size());
  }
  SegmentPtr segment;
  uint64_t end = 0;
  {
    std::lock_guard lock(mutex_);
    if (closed_) return WithRetryAfter(Unavailable("the disk queue is closed"), kRetryAfter);
    const std::string record = FrameRecord(next_sequence_, payload);
    const auto fits = [&] { return bytes_ + record.size() <= options_.max_bytes; };
    if (!fits()) {  // the last segment may hold nothing but what is done
      open_ = false;
      RemoveDoneLocked();
    }
    if (!fits()) {
      return WithRetryAfter(ResourceExhausted("{} holds {} of {} bytes; send again later",
                                              options_.directory, bytes_, options_.max_bytes),
                            kRetryAfter);
    }
    if (!open_ || (segments_.back()->size > 0 &&
                   segments_.back()->size + record.size() > options_.segment_bytes)) {
      WEFT_RETURN_IF_ERROR(AddSegmentLocked());
    }
    WEFT_RETURN_IF_ERROR(WriteLocked(record));
    segment = segments_.back();
    end = segment->size;
  }
  if (options_.fsync != FsyncPolicy::kAlways || SyncUpTo(segment, end)) return absl::OkStatus();
  // It may be read and done all the same: the caller's second attempt is a second copy.
  return WithRetryAfter(Unavailable("{} did not reach the disk", segment->path), kRetryAfter);
}

absl::Status SegmentLog::AddSegmentLocked() {
  auto segment = std::make_shared<Segment>();
  segment->path = (fs::path(options_.directory) /
                   (fmt::format("{:016x}", next_sequence_) + std::string(kSuffix)))
                      .string();
  segment->first = next_sequence_;
  segment->fd = open(segment->path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (segment->fd < 0) {
    ++write_errors_;
    return DiskError(segment->path, errno);
  }
  if (options_.fsync != FsyncPolicy::kNever) {  // the name, too, must outlive a loss of power
    if (const int fd = open(options_.directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        fd >= 0) {
      fsync(fd);
      close(fd);
    }
  }
  segments_.push_back(std::move(segment));
  open_ = true;
  return absl::OkStatus();
}

absl::Status SegmentLog::WriteLocked(const std::string& record) {
  Segment& segment = *segments_.back();
  if (!WriteAt(segment.fd, segment.size, record)) {
    const int error = errno;
    ++write_errors_;
    // What was written of it must not come before the next record; if it cannot be cut off, that
    // one goes into another file.
    if (ftruncate(segment.fd, static_cast<off_t>(segment.size)) != 0) open_ = false;
    return DiskError(segment.path, error);
  }
  segment.size += record.size();
  segment.last = next_sequence_++;
  bytes_ += record.size();
  return absl::OkStatus();
}

bool SegmentLog::SyncUpTo(const SegmentPtr& segment, uint64_t size) {
  std::lock_guard sync_lock(sync_mutex_);
  uint64_t target = 0;
  {
    std::lock_guard lock(mutex_);
    if (segment->synced >= size) return true;  // another's sync took it along
    target = segment->size;
  }
  const bool ok = fdatasync(segment->fd) == 0;
  std::lock_guard lock(mutex_);
  if (ok) {
    segment->synced = target;
  } else {
    ++write_errors_;
  }
  return ok;
}

std::optional<SegmentLog::Record> SegmentLog::ReadNext() {
  std::lock_guard lock(mutex_);
  while (read_segment_ < segments_.size()) {
    if (auto record = ReadHereLocked()) return record;
    if (read_segment_ + 1 == segments_.size()) break;
    ++read_segment_;
    read_at_ = 0;
    RemoveDoneLocked();
  }
  last_read_ = next_sequence_ - 1;  // also what was lost to damage
  return std::nullopt;
}

std::optional<SegmentLog::Record> SegmentLog::ReadHereLocked() {
  const Segment& segment = *segments_[read_segment_];
  while (read_at_ < segment.size) {
    const auto header = ParseRecordHeader(ReadAt(segment.fd, read_at_, kRecordHeaderBytes));
    const uint64_t payload_at = read_at_ + kRecordHeaderBytes;
    if (header && header->payload_bytes <= segment.size - payload_at) {
      Record record{header->sequence, ReadAt(segment.fd, payload_at, header->payload_bytes)};
      if (RecordIsWhole(*header, record.payload)) {
        read_at_ = payload_at + header->payload_bytes;
        if (record.sequence <= last_read_ || !segment.MayHold(record.sequence)) {
          continue;  // done before the log was opened, or forged
        }
        last_read_ = record.sequence;
        outstanding_.insert(record.sequence);
        return record;
      }
    }
    const std::string rest = ReadAt(segment.fd, read_at_, segment.size - read_at_);
    const auto next = FindRecord(rest, 1);
    const uint64_t passed = next ? next->begin : segment.size - read_at_;
    damaged_bytes_ += passed;
    read_at_ += passed;
  }
  return std::nullopt;
}

void SegmentLog::Done(uint64_t sequence) {
  std::lock_guard lock(mutex_);
  outstanding_.erase(sequence);
  RemoveDoneLocked();
}

uint64_t SegmentLog::DoneThroughLocked() const {
  return outstanding_.empty() ? last_read_ : *outstanding_.begin() - 1;
}

void SegmentLog::RemoveDoneLocked() {
  while (!segments_.empty()) {
    const Segment& first = *segments_.front();
    const bool being_written = open_ && segments_.size() == 1;
    const bool being_read = read_segment_ == 0 && read_at_ < first.size;
    if (being_written || being_read || first.last > DoneThroughLocked()) return;
    unlink(first.path.c_str());
    bytes_ -= first.size;
    segments_.pop_front();
    if (read_segment_ > 0) {
      --read_segment_;
    } else {
      read_at_ = 0;
    }
  }
}

void SegmentLog::WriteCursor(uint64_t done_through) {
  if (WriteAt(cursor_fd_, 0, FrameRecord(done_through, ""))) written_cursor_ = done_through;
}

void SegmentLog::Maintain() {
  std::lock_guard maintain_lock(maintain_mutex_);
  std::vector<std::pair<SegmentPtr, uint64_t>> dirty;
  uint64_t done_through = 0;
  const auto now = SteadyClock::now();
  {
    std::lock_guard lock(mutex_);
    done_through = DoneThroughLocked();
    if (options_.fsync == FsyncPolicy::kInterval && now - last_sync_ >= options_.fsync_interval) {
      last_sync_ = now;
      for (const SegmentPtr& segment : segments_) {
        if (segment->synced < segment->size) dirty.emplace_back(segment, segment->size);
      }
    }
  }
  if (cursor_fd_ >= 0 && done_through != written_cursor_) WriteCursor(done_through);
  for (const auto& [segment, size] : dirty) SyncUpTo(segment, size);
}

void SegmentLog::Close() {
  {
    std::lock_guard lock(mutex_);
    if (std::exchange(closed_, true)) return;
    open_ = false;
    RemoveDoneLocked();
    last_sync_ = {};
  }
  Maintain();
}

SegmentLog::Stats SegmentLog::stats() const {
  std::lock_guard lock(mutex_);
  return {bytes_, next_sequence_ - 1 - last_read_ + outstanding_.size(), damaged_bytes_,
          write_errors_};
}

}  // namespace weft::spans
