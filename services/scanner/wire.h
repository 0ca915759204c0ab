// Between libs/scan's types and the messages of weft/v1/scanner.proto.
#pragma once

#include <absl/status/statusor.h>

#include <string_view>

#include "libs/scan/finding.h"
#include "weft/v1/scanner.pb.h"

namespace weft::scanner {

// INVALID_ARGUMENT naming `field`, unless the kind is one of the known ones.
absl::StatusOr<scan::TextKind> KindFromWire(v1::TextKind kind, std::string_view field);

// Text that a cut or hostile input left as invalid UTF-8 gets U+FFFD there: proto strings are
// UTF-8.
void ToWire(scan::Finding finding, v1::Finding& out);

void ToWire(const absl::Status& status, v1::RequestError& out);

}  // namespace weft::scanner
