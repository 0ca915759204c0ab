// How a worker ends whose model is gone.
#pragma once

#include <absl/status/status.h>

#include <string_view>

namespace weft::worker {

// Takes the process with it, at once and without a word to anybody: sessions break, and schedulers
// take what ran here elsewhere. Exit code 1.
[[noreturn]] void End(std::string_view model, const absl::Status& reason);

}  // namespace weft::worker
