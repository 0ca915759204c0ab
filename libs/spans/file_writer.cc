#include "libs/spans/file_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "libs/base/status.h"
#include "libs/spans/otlp_json.h"

namespace weft::spans {

absl::StatusOr<std::unique_ptr<FileWriter>> FileWriter::Open(const std::string& path, Stage* next,
                                                             Metrics& metrics) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
  if (fd < 0) return FailedPrecondition("file: cannot open '{}': {}", path, std::strerror(errno));
  return std::unique_ptr<FileWriter>(new FileWriter(fd, next, metrics));
}

FileWriter::~FileWriter() { close(fd_); }

absl::Status FileWriter::Consume(Batch& batch) {
  std::lock_guard lock(mutex_);  // lines must not mix, and the file keeps the order of the queue
  if (closed_) return Unavailable("file: shut down");
  const size_t count = CountSpans(batch.spans);
  std::string line = ToOtlpJson(batch.spans) + "\n";
  if (next_ != nullptr) WEFT_RETURN_IF_ERROR(next_->Consume(batch));
  telemetry::CounterFamily& counter = WriteLine(line) ? metrics_.exported : metrics_.failed;
  counter.With({"file"}).Increment(static_cast<double>(count));
  batch = Batch();
  return absl::OkStatus();
}

bool FileWriter::WriteLine(const std::string& line) {
  const off_t begin = lseek(fd_, 0, SEEK_END);
  size_t done = 0;
  while (done < line.size()) {
    const ssize_t n = write(fd_, line.data() + done, line.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      // Half a line would break every reader of the file.
      [[maybe_unused]] const int cut = ftruncate(fd_, begin);
      return false;
    }
    done += static_cast<size_t>(n);
  }
  return true;
}

void FileWriter::Shutdown(std::chrono::nanoseconds) {
  std::lock_guard lock(mutex_);
  closed_ = true;
}

}  // namespace weft::spans
