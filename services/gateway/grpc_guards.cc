#include "services/gateway/grpc_guards.h"

#include <google/protobuf/descriptor.h>

#include <array>
#include <set>

#include "libs/base/status.h"

namespace weft::gateway {
namespace {

using identity::Permission;

constexpr std::array kGuards = {
    GrpcGuard{"weft.v1.InferenceService/Generate", Permission::kModelsUse},
    GrpcGuard{"weft.v1.InferenceService/Tokenize", Permission::kModelsUse},
    GrpcGuard{"weft.v1.InferenceService/ListModels", Permission::kModelsRead},
    GrpcGuard{"weft.v1.AdminService/CreateKey", Permission::kKeysWrite},
    GrpcGuard{"weft.v1.AdminService/ListKeys", Permission::kKeysRead},
    GrpcGuard{"weft.v1.AdminService/RotateKey", Permission::kKeysWrite},
    GrpcGuard{"weft.v1.AdminService/RevokeKey", Permission::kKeysWrite},
    // One method for all types: the type's own permission is checked with it (resource_calls.cc).
    GrpcGuard{"weft.v1.AdminService/CreateResource", Permission::kSelfRead},
    GrpcGuard{"weft.v1.AdminService/GetResource", Permission::kSelfRead},
    GrpcGuard{"weft.v1.AdminService/ListResources", Permission::kSelfRead},
    GrpcGuard{"weft.v1.AdminService/UpdateResource", Permission::kSelfRead},
    GrpcGuard{"weft.v1.AdminService/DeleteResource", Permission::kSelfRead},
    GrpcGuard{"weft.v1.AdminService/GetUsage", Permission::kUsageRead},
    GrpcGuard{"weft.v1.AdminService/ListAudit", Permission::kAuditRead},
    GrpcGuard{"weft.v1.AdminService/VerifyAudit", Permission::kAuditRead},
    GrpcGuard{"weft.v1.AdminService/ExportData", Permission::kDataExport},
    GrpcGuard{"weft.v1.AdminService/EraseData", Permission::kDataErase},
    GrpcGuard{"weft.v1.AdminService/PruneData", Permission::kDataErase},
    GrpcGuard{"weft.v1.AdminService/RotateKeys", Permission::kSettingsWrite},
    GrpcGuard{"weft.v1.CacheService/InvalidateCache", Permission::kCacheClear},
    GrpcGuard{"weft.v1.CacheService/GetCacheStats", Permission::kCacheRead},
};

}  // namespace

std::span<const GrpcGuard> GrpcGuards() { return kGuards; }

const GrpcGuard* FindGrpcGuard(std::string_view method) {
  for (const GrpcGuard& row : kGuards) {
    if (row.method == method) return &row;
  }
  return nullptr;
}

absl::Status CheckGrpcGuards(const std::vector<std::string>& services) {
  std::set<std::string> methods;
  for (const std::string& name : services) {
    const auto* service =
        google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(name);
    if (service == nullptr) return Internal("the service {} is not known", name);
    for (int i = 0; i < service->method_count(); ++i) {
      methods.insert(name + "/" + service->method(i)->name());
    }
  }
  for (const std::string& method : methods) {
    if (FindGrpcGuard(method) == nullptr) return Internal("{} says not who may call it", method);
  }
  for (const GrpcGuard& row : kGuards) {
    if (!methods.contains(std::string(row.method))) {
      return Internal("{} has a guard, but is not there", row.method);
    }
  }
  return absl::OkStatus();
}

}  // namespace weft::gateway
