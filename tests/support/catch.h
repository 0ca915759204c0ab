// Catch2 2.13 (Debian 12) and 3.x (Debian 13) under one name. Test files include only this.
#pragma once

#ifdef WEFT_CATCH2_V3
#include <catch2/catch_all.hpp>
using Catch::Approx;
using Catch::Matchers::ContainsSubstring;
#else
#include <catch2/catch.hpp>
// Version 3 renamed it.
inline auto ContainsSubstring(const std::string& text) { return Catch::Matchers::Contains(text); }
#endif
