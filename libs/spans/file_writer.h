// Appends every batch to a file as one line of OTLP JSON, then passes it on.
#pragma once

#include <absl/status/statusor.h>

#include <memory>
#include <mutex>
#include <string>

#include "libs/spans/intake.h"
#include "libs/spans/stage.h"

namespace weft::spans {

// The file is for people and tests: a line that cannot be written is counted as failed and does not
// hold the spans back. A batch that the next stage refuses is written once, not again each time.
class FileWriter final : public Stage {
 public:
  // `next` may be nullptr: the file is the end. The error names the file.
  static absl::StatusOr<std::unique_ptr<FileWriter>> Open(const std::string& path, Stage* next,
                                                          Metrics& metrics);
  ~FileWriter() override;

  absl::Status Consume(Batch& batch) override;
  void Shutdown(std::chrono::nanoseconds wait) override;

 private:
  FileWriter(int fd, Stage* next, Metrics& metrics) : fd_(fd), next_(next), metrics_(metrics) {}
  bool WriteLine(const std::string& line);

  const int fd_;
  Stage* const next_;
  Metrics& metrics_;
  std::mutex mutex_;
  bool closed_ = false;
};

}  // namespace weft::spans
