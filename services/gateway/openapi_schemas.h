// The schemas of the REST API, as JSON text.
#pragma once

#include <string_view>

namespace weft::gateway {

// An object: schema name -> JSON Schema (draft 2020-12), as under components.schemas of
// OpenAPI 3.1.
std::string_view OpenApiSchemas();

}  // namespace weft::gateway
