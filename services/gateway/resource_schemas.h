// The schemas of /v1/admin/…, by name: "Project", "ProjectList", "CreateProject", "UpdateProject".
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace weft::gateway {

void AddResourceSchemas(nlohmann::ordered_json& schemas);

// "role_bindings" gives "RoleBindings": the name of its schema, and part of operations' ids.
std::string SchemaTitle(std::string_view snake);
std::vector<std::string> SplitWords(std::string_view text, char separator);

}  // namespace weft::gateway
