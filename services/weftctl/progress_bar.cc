#include "services/weftctl/progress_bar.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace weft::ctl {
namespace {

constexpr int kWidth = 30;
constexpr size_t kTextWidth = 32;

}  // namespace

ProgressBar::ProgressBar()
    : terminal_(isatty(STDERR_FILENO) == 1), begin_(std::chrono::steady_clock::now()) {}

ProgressBar::~ProgressBar() {
  if (drawn_) fmt::print(stderr, "\r\033[K");
}

void ProgressBar::Show(double fraction, const std::string& text) {
  const auto now = std::chrono::steady_clock::now();
  if (!terminal_ || (drawn_ && now - last_ < std::chrono::milliseconds(100))) return;
  last_ = now;
  drawn_ = true;
  fraction = std::clamp(fraction, 0.0, 1.0);
  const int full = static_cast<int>(fraction * kWidth);
  const double spent = std::chrono::duration<double>(now - begin_).count();
  const std::string left =
      fraction > 0.02 ? fmt::format("{:.0f} s left", spent * (1 - fraction) / fraction) : "";
  fmt::print(stderr, "\r\033[K[{}{}] {:3.0f} %  {}  {}",
             std::string(static_cast<size_t>(full), '='),
             std::string(static_cast<size_t>(kWidth - full), ' '), 100 * fraction,
             text.substr(0, kTextWidth), left);
  std::fflush(stderr);
}

}  // namespace weft::ctl
