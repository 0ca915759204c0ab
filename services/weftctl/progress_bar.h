// A line on the terminal that shows how far something is.
#pragma once

#include <chrono>
#include <string>

namespace weft::ctl {

// Draws on stderr, and only when that is a terminal. Not thread safe. The line is gone when the bar
// is.
class ProgressBar {
 public:
  ProgressBar();
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // `fraction` in [0, 1]; redraws ten times a second at most.
  void Show(double fraction, const std::string& text);

 private:
  bool terminal_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point begin_;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace weft::ctl
