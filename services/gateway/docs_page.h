// The page at /docs: the OpenAPI document for people. One file, nothing from elsewhere.
#pragma once

#include <string>
#include <string_view>

namespace weft::gateway {

std::string_view DocsPage();
// Allows the page's own script and style, by their hashes, to ask this server and nothing else.
const std::string& DocsPagePolicy();

}  // namespace weft::gateway
