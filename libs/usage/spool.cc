#include "libs/usage/spool.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <utility>

#include "libs/base/ids.h"
#include "libs/base/status.h"

namespace weft::usage {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t kNoSlot = UINT32_MAX;
constexpr size_t kMaxLine = 64 << 10;  // a row is a few hundred bytes
constexpr size_t kMaxNote = 60'000;
constexpr std::string_view kSuffix = ".jsonl";

absl::Status Errno(std::string_view what, const std::string& path) {
  return FailedPrecondition("{}: {}: {}", path, what, std::generic_category().message(errno));
}

// "B SLOT TAG {row}", "E {row}" or "N text".
struct Line {
  enum class Kind : uint8_t { kBegin, kEnd, kNote };
  Kind kind = Kind::kEnd;
  uint32_t slot = kNoSlot;
  uint64_t tag = 0;
  UsageRow row;
  std::string note;
};

// `whole` false: of a begin line only that it is one.
absl::StatusOr<Line> ParseLine(std::string_view text, bool whole) {
  Line out;
  if (text.substr(0, 2) == "B ") {
    out.kind = Line::Kind::kBegin;
    text.remove_prefix(2);
    const auto number = [&](auto& value) {
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
      const bool good = error == std::errc() && end != text.data() + text.size() && *end == ' ';
      if (good) text.remove_prefix(static_cast<size_t>(end - text.data()) + 1);
      return good;
    };
    if (!number(out.slot) || !number(out.tag)) return InvalidArgument("a broken begin line");
    if (!whole) return out;
  } else if (text.substr(0, 2) == "E ") {
    text.remove_prefix(2);
  } else if (text.substr(0, 2) == "N ") {
    out.kind = Line::Kind::kNote;
    out.note = text.substr(2);
    return out;
  } else {
    return InvalidArgument("neither a begin nor an end line nor a note");
  }
  WEFT_ASSIGN_OR_RETURN(out.row, FromJson(text));
  return out;
}

// The whole lines of a file from `offset` on, at most about `limit` bytes of them.
absl::StatusOr<std::string> ReadLines(const std::string& path, uint64_t offset, size_t limit) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return Errno("open", path);
  in.seekg(static_cast<std::streamoff>(offset));
  std::string text(limit, '\0');
  in.read(text.data(), static_cast<std::streamsize>(limit));
  text.resize(static_cast<size_t>(std::max<std::streamsize>(in.gcount(), 0)));
  const size_t end = text.rfind('\n');
  text.resize(end == std::string::npos ? 0 : end + 1);
  return text;
}

}  // namespace

struct Spool::Slot {
  std::atomic<uint64_t> tag;
  std::atomic<uint64_t> prompt;
  std::atomic<uint64_t> cached;
  std::atomic<uint64_t> completion;
};

absl::StatusOr<std::unique_ptr<Spool>> Spool::Open(SpoolOptions options,
                                                   std::shared_ptr<UsageSink> sink,
                                                   SpoolHooks hooks) {
  std::unique_ptr<Spool> out(new Spool(std::move(options), std::move(sink), std::move(hooks)));
  WEFT_RETURN_IF_ERROR(out->Start());
  return out;
}

Spool::Spool(SpoolOptions options, std::shared_ptr<UsageSink> sink, SpoolHooks hooks)
    : options_(std::move(options)), sink_(std::move(sink)), hooks_(std::move(hooks)) {}

Spool::~Spool() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  if (fd_ >= 0) {
    fdatasync(fd_);
    close(fd_);
    // Everything is stored and nothing runs: the next start has nothing to read.
    if (running_.empty() && files_.size() == 1 && read_offset_ == size_) {
      unlink(PathOf(files_.front()).c_str());
    }
  }
  if (slots_ != nullptr) munmap(slots_, options_.slots * sizeof(Slot));
  if (lock_fd_ >= 0) close(lock_fd_);
}

std::string Spool::PathOf(uint64_t number) const {
  return fmt::format("{}/{:012}{}", options_.folder, number, kSuffix);
}

absl::Status Spool::Lock() {
  std::error_code error;
  fs::create_directories(options_.folder, error);
  if (error) return FailedPrecondition("{}: {}", options_.folder, error.message());
  chmod(options_.folder.c_str(), 0700);
  const std::string path = options_.folder + "/lock";
  lock_fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock_fd_ < 0) return Errno("open", path);
  if (flock(lock_fd_, LOCK_EX | LOCK_NB) != 0) {
    return FailedPrecondition("{}: another process writes its usage here", options_.folder);
  }
  return absl::OkStatus();
}

absl::Status Spool::MapSlots() {
  const std::string path = options_.folder + "/running";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return Errno("open", path);
  const size_t bytes = options_.slots * sizeof(Slot);
  struct stat info {};
  // Blocks are really there: memory of a full disk would be a signal, not an error.
  int error = fstat(fd, &info) != 0 ? errno : 0;
  if (error == 0 && static_cast<size_t>(info.st_size) < bytes) {
    error = posix_fallocate(fd, 0, static_cast<off_t>(bytes));
  }
  void* memory =
      error != 0 ? MAP_FAILED : mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (error == 0 && memory == MAP_FAILED) error = errno;
  close(fd);
  errno = error;
  if (error != 0) return Errno("map", path);
  slots_ = static_cast<Slot*>(memory);
  return absl::OkStatus();
}

absl::Status Spool::Start() {
  if (options_.slots < 1 || options_.batch < 1) {
    return InvalidArgument("slots and batch: must be at least 1");
  }
  WEFT_RETURN_IF_ERROR(Lock());
  WEFT_RETURN_IF_ERROR(MapSlots());
  WEFT_RETURN_IF_ERROR(Recover());
  for (uint32_t i = options_.slots; i-- > 0;) {
    slots_[i].tag = 0;
    free_slots_.push_back(i);
  }
  thread_ = std::thread([this] { Run(); });
  return absl::OkStatus();
}

absl::Status Spool::Recover() {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(options_.folder, error)) {
    const std::string name = entry.path().filename().string();
    uint64_t number = 0;
    const auto [end, bad] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (bad == std::errc() && std::string_view(end) == kSuffix) files_.push_back(number);
  }
  if (error) return FailedPrecondition("{}: {}", options_.folder, error.message());
  std::sort(files_.begin(), files_.end());
  std::map<std::string, Line> open;  // by id
  for (const uint64_t number : files_) {
    for (uint64_t offset = 0;;) {
      WEFT_ASSIGN_OR_RETURN(const std::string text,
                            ReadLines(PathOf(number), offset, kMaxLine * 16));
      if (text.empty()) break;
      offset += text.size();
      for (size_t at = 0; at < text.size();) {
        const size_t end = text.find('\n', at);
        auto line = ParseLine(std::string_view(text).substr(at, end - at), true);
        at = end + 1;
        if (!line.ok()) continue;  // reported when it is shipped
        if (line->kind == Line::Kind::kNote) continue;
        if (line->kind == Line::Kind::kBegin) {
          open.insert_or_assign(line->row.id, *std::move(line));
        } else {
          open.erase(line->row.id);
        }
      }
    }
    sealed_bytes_ += fs::file_size(PathOf(number), error);
  }
  {
    std::lock_guard lock(mutex_);
    WEFT_RETURN_IF_ERROR(OpenFileLocked());
    for (auto& [id, line] : open) {
      UsageRow& row = line.row;
      row.outcome = "lost";
      if (line.slot < options_.slots && slots_[line.slot].tag == line.tag) {
        row.prompt_tokens = slots_[line.slot].prompt;
        row.cached_prompt_tokens = slots_[line.slot].cached;
        row.completion_tokens = slots_[line.slot].completion;
      }
      if (options_.price) options_.price(row);
      WEFT_RETURN_IF_ERROR(WriteLocked(fmt::format("E {}\n", ToJson(row))));
      ++recovered_;
    }
  }
  if (fdatasync(fd_) != 0) return Errno("fdatasync", options_.folder);
  return absl::OkStatus();
}

absl::Status Spool::OpenFileLocked() {
  const uint64_t number = files_.empty() ? 1 : files_.back() + 1;
  const int fd =
      open(PathOf(number).c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) return Errno("open", PathOf(number));
  if (fd_ >= 0) {
    fdatasync(fd_);
    close(fd_);
    sealed_bytes_ += size_;
  }
  fd_ = fd;
  files_.push_back(number);
  size_ = 0;
  return absl::OkStatus();
}

absl::Status Spool::WriteLocked(const std::string& line) {
  size_t done = 0;
  while (done < line.size()) {
    const ssize_t wrote = write(fd_, line.data() + done, line.size() - done);
    if (wrote >= 0) {
      done += static_cast<size_t>(wrote);
      continue;
    }
    if (errno == EINTR) continue;
    const absl::Status status = Errno("write", PathOf(files_.back()));
    // Half a line would spoil the next one.
    if (ftruncate(fd_, static_cast<off_t>(size_)) != 0) size_ += done;
    if (hooks_.damaged) hooks_.damaged(status);
    return status;
  }
  size_ += line.size();
  dirty_ = true;
  return absl::OkStatus();
}

void Spool::RotateLocked() {
  if (const absl::Status status = OpenFileLocked(); !status.ok()) {
    if (hooks_.damaged) hooks_.damaged(status);
    return;  // the old file goes on
  }
  // A file that is stored is deleted: what runs must be known without it.
  for (const auto& [ticket, running] : running_) {
    WriteLocked(running.begin_line).IgnoreError();  // the hook has heard of it
  }
}

Spool::Ticket Spool::Begin(const UsageRow& row) {
  const uint64_t tag = RandomU64() | 1;
  const std::string json = ToJson(row);
  std::lock_guard lock(mutex_);
  uint32_t slot = kNoSlot;
  if (!free_slots_.empty()) {
    slot = free_slots_.back();
    free_slots_.pop_back();
    slots_[slot].prompt = 0;
    slots_[slot].cached = 0;
    slots_[slot].completion = 0;
    slots_[slot].tag = tag;
  }
  const Ticket ticket = next_ticket_++ << 32 | slot;
  std::string line = fmt::format("B {} {} {}\n", slot, tag, json);
  if (size_ >= options_.file_bytes) RotateLocked();
  WriteLocked(line).IgnoreError();  // the hook has heard of it
  running_.emplace(ticket, Running{std::move(line), slot});
  return ticket;
}

void Spool::Progress(Ticket ticket, uint64_t prompt, uint64_t cached_prompt, uint64_t completion) {
  const auto slot = static_cast<uint32_t>(ticket);
  if (slot >= options_.slots) return;
  slots_[slot].prompt.store(prompt, std::memory_order_relaxed);
  slots_[slot].cached.store(cached_prompt, std::memory_order_relaxed);
  slots_[slot].completion.store(completion, std::memory_order_relaxed);
}

void Spool::End(Ticket ticket, const UsageRow& row) {
  const std::string line = fmt::format("E {}\n", ToJson(row));
  {
    std::lock_guard lock(mutex_);
    const auto it = running_.find(ticket);
    if (it == running_.end()) return;
    if (size_ >= options_.file_bytes) RotateLocked();
    WriteLocked(line).IgnoreError();  // the hook has heard of it
    if (it->second.slot != kNoSlot) {
      slots_[it->second.slot].tag = 0;
      free_slots_.push_back(it->second.slot);
    }
    running_.erase(it);
    if (!std::exchange(asleep_, false)) return;
  }
  changed_.notify_all();
}

absl::Status Spool::Note(std::string_view text) {
  if (text.size() > kMaxNote || text.find('\n') != std::string_view::npos) {
    return InvalidArgument("a note of {} bytes is no line of the journal", text.size());
  }
  const std::string line = fmt::format("N {}\n", text);
  {
    std::lock_guard lock(mutex_);
    if (size_ >= options_.file_bytes) RotateLocked();
    WEFT_RETURN_IF_ERROR(WriteLocked(line));
  }
  changed_.notify_all();
  return absl::OkStatus();
}

void Spool::Sync() {
  int fd = -1;
  {
    std::lock_guard lock(mutex_);
    if (!std::exchange(dirty_, false)) return;
    fd = dup(fd_);
  }
  if (fd < 0) return;
  if (fdatasync(fd) != 0 && hooks_.damaged) {
    hooks_.damaged(Errno("fdatasync", options_.folder));
  }
  close(fd);
}

absl::StatusOr<bool> Spool::Ship() {
  uint64_t number = 0, offset = 0;
  bool last = false;
  {
    std::lock_guard lock(mutex_);
    number = files_.front();
    offset = read_offset_;
    last = files_.size() == 1;
    if (last && offset >= size_) return false;
  }
  const std::string path = PathOf(number);
  WEFT_ASSIGN_OR_RETURN(const std::string text, ReadLines(path, offset, kMaxLine * 8));
  std::vector<UsageRow> rows;
  std::vector<std::string> notes;
  size_t at = 0;
  while (at < text.size() && rows.size() + notes.size() < options_.batch) {
    const size_t end = text.find('\n', at);
    auto line = ParseLine(std::string_view(text).substr(at, end - at), false);
    at = end + 1;
    if (!line.ok()) {
      if (hooks_.damaged) hooks_.damaged(Annotate(line.status(), path));
    } else if (line->kind == Line::Kind::kNote) {
      notes.push_back(std::move(line->note));
    } else if (line->kind == Line::Kind::kEnd) {
      rows.push_back(std::move(line->row));
    }
  }
  if (!rows.empty()) WEFT_RETURN_IF_ERROR(sink_->Write(rows));
  if (!notes.empty()) WEFT_RETURN_IF_ERROR(sink_->WriteNotes(notes));
  if (!rows.empty() && hooks_.stored) hooks_.stored(rows.size());
  {
    std::lock_guard lock(mutex_);
    read_offset_ += at;
    if (text.empty() && !last) {  // what is left of a torn line is nobody's
      std::error_code ignored;
      sealed_bytes_ -= std::min(sealed_bytes_, static_cast<uint64_t>(fs::file_size(path, ignored)));
      unlink(path.c_str());
      files_.pop_front();
      read_offset_ = 0;
    }
  }
  changed_.notify_all();
  return !text.empty() || !last;
}

void Spool::Run() {
  auto next_sync = std::chrono::steady_clock::now() + options_.sync_interval;
  auto retry = options_.min_retry;
  std::unique_lock lock(mutex_);
  while (!stop_) {
    lock.unlock();
    const auto shipped = Ship();
    if (std::chrono::steady_clock::now() >= next_sync) {
      Sync();
      next_sync = std::chrono::steady_clock::now() + options_.sync_interval;
    }
    if (!shipped.ok() && hooks_.store_failed) hooks_.store_failed(shipped.status());
    lock.lock();
    if (!shipped.ok()) {
      changed_.wait_for(lock, retry, [this] { return stop_; });
      retry = std::min(retry * 2, options_.max_retry);
      continue;
    }
    retry = options_.min_retry;
    if (stop_ || files_.size() > 1 || size_ - read_offset_ > kMaxLine * 4) continue;
    if (*shipped) {  // more come, as it seems: they are looked for from time to time
      changed_.wait_for(lock, options_.gather, [&] { return stop_ || flushing_ > 0; });
      continue;
    }
    const uint64_t size = size_;
    asleep_ = true;
    changed_.wait_until(lock, next_sync,
                        [&] { return stop_ || size_ != size || files_.size() > 1; });
    asleep_ = false;
  }
}

bool Spool::ShippedLocked(uint64_t number, uint64_t offset) const {
  return files_.front() > number || (files_.front() == number && read_offset_ >= offset);
}

bool Spool::Flush(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  const uint64_t number = files_.back(), offset = size_;
  ++flushing_;
  changed_.notify_all();
  const bool done = changed_.wait_for(lock, timeout, [&] { return ShippedLocked(number, offset); });
  --flushing_;
  return done;
}

Spool::Stats Spool::stats() const {
  std::lock_guard lock(mutex_);
  Stats out;
  out.running = running_.size();
  out.written_bytes = sealed_bytes_ + size_ - std::min(sealed_bytes_ + size_, read_offset_);
  out.recovered = recovered_;
  return out;
}

}  // namespace weft::usage
