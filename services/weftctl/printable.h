// Names and texts of hostile files that go to a terminal.
#pragma once

#include <string>
#include <string_view>

namespace weft::ctl {

// The text with a '?' for each character that could move the cursor, start an escape sequence or
// turn the direction of what follows: the controls of ASCII and of Latin-1 (C1), Unicode's line
// separators and its marks, overrides and isolates for writing direction; and for each byte that is
// not UTF-8, because a terminal may take it for one of those.
std::string Printable(std::string_view text);

}  // namespace weft::ctl
