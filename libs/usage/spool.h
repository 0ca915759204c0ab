// A journal on disk between the requests and the store of their usage: what a request used is in it
// before its answer ends, and reaches the store once, also when the gateway or the store dies.
//
//   FOLDER/000000000017.jsonl   "begin", "end" and "note" lines, oldest file first
//   FOLDER/running              a slot for each request that runs: its tokens so far, mapped memory
//
// A killed process loses nothing: lines are written before Begin and End return, and slots are
// memory that the kernel keeps. What began and did not end is ended at the next Open, with the
// tokens of its slot and the outcome "lost". A machine that loses power may lose the last second.
// The store may get a row again after a crash, so it keeps each id once.
//
// Notes are other rows that need the same: the audit's of requests that used a model.
#pragma once

#include <absl/status/statusor.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "libs/usage/usage_row.h"

namespace weft::usage {

struct SpoolOptions {
  std::string folder;  // made when it is missing, mode 0700; one process at a time
  uint64_t file_bytes = uint64_t{8}
                        << 20;  // a file that is larger is closed, and goes once it is stored
  uint32_t slots = 16'384;      // requests whose tokens are known when the process is killed
  size_t batch = 500;           // rows of one write to the store
  std::chrono::milliseconds sync_interval{1'000};  // to the disk itself
  // How long rows gather before they go to the store. Waking the thread at each of them would cost
  // the request that brought it more than its line.
  std::chrono::milliseconds gather{20};
  std::chrono::milliseconds min_retry{100};  // after the store refused
  std::chrono::milliseconds max_retry{10'000};
  // Sets the cost of a row that Open ends, by its tokens.
  std::function<void(UsageRow&)> price = nullptr;
};

struct SpoolHooks {
  std::function<void(size_t rows)> stored = nullptr;
  std::function<void(const absl::Status&)> store_failed = nullptr;
  // A line that could not be written (a full disk), or is not one: a row may be missing.
  std::function<void(const absl::Status&)> damaged = nullptr;
};

// Thread safe.
class Spool {
 public:
  // Ends what a killed process left. FAILED_PRECONDITION when the folder cannot be used or belongs
  // to a process that runs.
  static absl::StatusOr<std::unique_ptr<Spool>> Open(SpoolOptions options,
                                                     std::shared_ptr<UsageSink> sink,
                                                     SpoolHooks hooks = {});
  // Rows that the store has not got stay in the folder.
  ~Spool();
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;

  using Ticket = uint64_t;
  // A request begins; of the row its id and who it belongs to count.
  Ticket Begin(const UsageRow& row);
  // Its tokens so far. Two stores to memory: as cheap as it looks, but for one thread at a time.
  void Progress(Ticket ticket, uint64_t prompt, uint64_t cached_prompt, uint64_t completion);
  // In the journal when it returns. Once for each Begin.
  void End(Ticket ticket, const UsageRow& row);

  // One line of text, which reaches UsageSink::WriteNotes. In the journal when it returns OK;
  // INVALID_ARGUMENT for one that is longer than 60,000 bytes or has a line's end, else the disk's
  // error.
  absl::Status Note(std::string_view text);

  // True when the store has everything that ended before the call; false when time is over.
  bool Flush(std::chrono::milliseconds timeout);

  struct Stats {
    uint64_t running = 0;
    uint64_t written_bytes = 0;  // of the journal's files, not yet stored
    uint64_t recovered = 0;      // rows of requests that a killed process left
  };
  Stats stats() const;

 private:
  struct Slot;
  Spool(SpoolOptions options, std::shared_ptr<UsageSink> sink, SpoolHooks hooks);

  absl::Status Start();
  absl::Status Lock();
  absl::Status MapSlots();
  absl::Status Recover();
  absl::Status OpenFileLocked();
  std::string PathOf(uint64_t number) const;
  absl::Status WriteLocked(const std::string& line);
  void RotateLocked();
  void Run();                   // the thread
  absl::StatusOr<bool> Ship();  // some rows; false: there are none
  void Sync();
  bool ShippedLocked(uint64_t number, uint64_t offset) const;

  const SpoolOptions options_;
  const std::shared_ptr<UsageSink> sink_;
  const SpoolHooks hooks_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  int lock_fd_ = -1;
  int fd_ = -1;  // of the file that is written
  bool dirty_ = false;
  uint64_t size_ = 0;          // of that file
  uint64_t sealed_bytes_ = 0;  // of the files before it
  Slot* slots_ = nullptr;
  std::vector<uint32_t> free_slots_;
  struct Running {
    std::string begin_line;  // again at the head of each new file
    uint32_t slot;
  };
  std::unordered_map<Ticket, Running> running_;
  Ticket next_ticket_ = 1;
  uint64_t recovered_ = 0;
  bool stop_ = false;
  bool asleep_ = false;  // the thread: it wants to be woken by the next row
  int flushing_ = 0;     // callers of Flush

  // Where the thread reads: the store has everything before.
  std::deque<uint64_t> files_;  // that are read; the last one is written
  uint64_t read_offset_ = 0;    // in the first of them
  std::thread thread_;
};

}  // namespace weft::usage
