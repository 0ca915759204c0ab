#include "libs/rpc/grpc_log.h"

#include <grpc/support/log.h>

#include "libs/telemetry/log.h"

namespace weft::rpc {
namespace {

const telemetry::Logger kLog("grpc");

void Log(gpr_log_func_args* args) {
  // gRPC calls errors what a client or network did: none of them needs a person.
  const telemetry::Level level = args->severity == GPR_LOG_SEVERITY_ERROR
                                     ? telemetry::Level::kWarning
                                     : telemetry::Level::kDebug;
  kLog.Log(level, telemetry::LogMessage(args->message, args->file, "", args->line), {});
}

}  // namespace

void RouteGrpcLogs() { gpr_set_log_function(Log); }

}  // namespace weft::rpc
