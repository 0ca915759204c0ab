#include "services/worker/end.h"

#include <cstdlib>

#include "libs/base/status.h"
#include "libs/telemetry/log.h"

namespace weft::worker {

[[noreturn]] void End(std::string_view model, const absl::Status& reason) {
  static const telemetry::Logger log("worker");
  telemetry::SetLogSink(nullptr);  // to stderr at once: nobody writes what is queued any more
  log.Error("the model is gone", {{"model", std::string(model)}, {"error", ToString(reason)}});
  std::_Exit(1);
}

}  // namespace weft::worker
