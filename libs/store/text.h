// Text as every database can hold it.
#pragma once

#include <string>
#include <string_view>

namespace weft::store {

// UTF-8 (RFC 3629) without NUL, which PostgreSQL's text cannot hold.
bool IsStorableText(std::string_view text);

// The same text where it is storable and not longer than `limit` bytes; else cut, and what is not
// ASCII replaced by '?'. For what clients send in headers.
std::string StorableText(std::string_view text, size_t limit);

}  // namespace weft::store
