// A certificate authority made for one test: nothing secret is committed, nothing expires.
#pragma once

#include <string>

namespace weft::test {

// Writes ca.pem, and <name>.pem with <name>.key for "server" (localhost, 127.0.0.1) and "client"
// into `folder`. Throws when OpenSSL fails.
void MakeTlsFiles(const std::string& folder);

}  // namespace weft::test
