// A log of records in a folder: appended at its end, read from its beginning, removed once done.
//
// The folder holds `lock` (one process at a time), segment files of framed records named after
// their first sequence number, and `cursor`: the sequence number up to which everything is done.
//
//   cursor ┐                     ┌ reader              ┌ end
//   [000001.spans]        [000421.spans]        [000873.spans]
//    done: removed         read, not all done    appended to
//
// A process that is killed leaves at most one torn record, at the end of a file; it was never
// acknowledged. What was read and not done is read again after a restart: at least once.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace weft::spans {

// When data must be on the disk itself and not only in the kernel, which alone outlives a process.
enum class FsyncPolicy : uint8_t {
  kAlways,    // before a record counts as accepted: survives a loss of power
  kInterval,  // every fsync_interval: a loss of power may cost what came since
  kNever,     // when the kernel sees fit
};

struct SegmentLogOptions {
  std::string directory;
  uint64_t max_bytes = uint64_t{256} << 20;  // of all segments; beyond, Append refuses
  uint64_t segment_bytes = uint64_t{16} << 20;
  FsyncPolicy fsync = FsyncPolicy::kInterval;
  std::chrono::milliseconds fsync_interval{1000};
};

// Thread safe, but for one reader at a time.
class SegmentLog {
 public:
  // Makes the folder (mode 0700) if it is missing and reads what is there. FAILED_PRECONDITION
  // names the path: not writable, or used by another process. Damage is no error; it is counted.
  static absl::StatusOr<std::unique_ptr<SegmentLog>> Open(const SegmentLogOptions& options);
  // As Close.
  ~SegmentLog();

  // Blocks for the write, with kAlways for the disk. RESOURCE_EXHAUSTED with RetryAfterOf: the log
  // or the disk is full; UNAVAILABLE with RetryAfterOf: another error of the disk. Nothing was
  // taken.
  absl::Status Append(std::string_view payload);

  struct Record {
    uint64_t sequence = 0;
    std::string payload;
  };
  // The next record that was not done when the log was opened; nullopt at the end.
  std::optional<Record> ReadNext();
  // The record's work is over. In any order, once for each record that was read.
  void Done(uint64_t sequence);

  // Brings cursor and, when it is due, data to the disk. Call it every now and then.
  void Maintain();
  // Maintain, and removes a log in which everything is done. Appends are refused from then on.
  void Close();

  struct Stats {
    uint64_t bytes = 0;          // on the disk
    uint64_t records = 0;        // not done
    uint64_t damaged_bytes = 0;  // passed over since Open
    uint64_t write_errors = 0;
  };
  Stats stats() const;
  uint64_t max_bytes() const { return options_.max_bytes; }

 private:
  struct Segment {
    ~Segment();
    // Whether a record of this number can be in it: what a span's text forges cannot skip others.
    bool MayHold(uint64_t sequence) const;
    std::string path;
    int fd = -1;
    uint64_t size = 0;    // of whole records
    uint64_t first = 0;   // sequence number, as the file's name says
    uint64_t last = 0;    // highest sequence number in it
    uint64_t synced = 0;  // bytes that are on the disk
  };
  using SegmentPtr = std::shared_ptr<Segment>;

  explicit SegmentLog(const SegmentLogOptions& options) : options_(options) {}
  absl::Status Recover();
  absl::Status Scan(const std::string& path);
  absl::Status AddSegmentLocked();
  absl::Status WriteLocked(const std::string& record);
  bool SyncUpTo(const SegmentPtr& segment, uint64_t size);
  std::optional<Record> ReadHereLocked();
  void RemoveDoneLocked();
  uint64_t DoneThroughLocked() const;
  void WriteCursor(uint64_t done_through);

  const SegmentLogOptions options_;
  int lock_fd_ = -1;
  int cursor_fd_ = -1;

  mutable std::mutex mutex_;
  std::deque<SegmentPtr> segments_;  // the last one is appended to, if `open_`
  bool open_ = false;                // the last segment is ours and undamaged
  bool closed_ = false;
  uint64_t bytes_ = 0;
  uint64_t next_sequence_ = 1;
  size_t read_segment_ = 0;
  uint64_t read_at_ = 0;
  uint64_t last_read_ = 0;          // everything up to here was read or done before
  std::set<uint64_t> outstanding_;  // read and not done
  uint64_t damaged_bytes_ = 0;
  uint64_t write_errors_ = 0;

  std::mutex sync_mutex_;  // one fdatasync at a time serves all that wait
  std::mutex maintain_mutex_;
  uint64_t written_cursor_ = 0;
  std::chrono::steady_clock::time_point last_sync_{};
};

}  // namespace weft::spans
