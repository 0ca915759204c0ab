#include "services/scanner/wire.h"

#include <string>
#include <utility>

#include "libs/base/error_info.h"
#include "libs/base/status.h"

namespace weft::scanner {
namespace {

// Bytes of the well-formed UTF-8 character that the text begins with; 0: it begins with none.
size_t CharacterBytes(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t n = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < n) return 0;
  for (size_t i = 1; i < n; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  // Overlong forms, surrogates, beyond U+10FFFF (RFC 3629 section 4).
  if (lead == 0xE0 && byte(1) < 0xA0) return 0;
  if (lead == 0xED && byte(1) > 0x9F) return 0;
  if (lead == 0xF0 && byte(1) < 0x90) return 0;
  if (lead == 0xF4 && byte(1) > 0x8F) return 0;
  return n;
}

std::string ValidUtf8(std::string text) {
  size_t good = 0;
  while (good < text.size()) {
    const size_t n = CharacterBytes(std::string_view(text).substr(good));
    if (n == 0) break;
    good += n;
  }
  if (good == text.size()) return text;
  std::string out;
  for (std::string_view rest = text; !rest.empty();) {
    const size_t n = CharacterBytes(rest);
    out += n == 0 ? std::string_view("\xEF\xBF\xBD") : rest.substr(0, n);
    rest.remove_prefix(n == 0 ? 1 : n);
  }
  return out;
}

v1::Severity SeverityToWire(scan::Severity severity) {
  return static_cast<v1::Severity>(static_cast<int>(severity) + 1);
}
static_assert(static_cast<int>(scan::Severity::kInfo) + 1 == v1::SEVERITY_INFO);
static_assert(static_cast<int>(scan::Severity::kCritical) + 1 == v1::SEVERITY_CRITICAL);

}  // namespace

absl::StatusOr<scan::TextKind> KindFromWire(v1::TextKind kind, std::string_view field) {
  switch (kind) {
    case v1::TEXT_KIND_PROMPT:
      return scan::TextKind::kPrompt;
    case v1::TEXT_KIND_OUTPUT:
      return scan::TextKind::kOutput;
    case v1::TEXT_KIND_CODE:
      return scan::TextKind::kCode;
    default:
      return WithField(InvalidArgument("{}: {} is no kind of text; give TEXT_KIND_PROMPT, "
                                       "TEXT_KIND_OUTPUT or TEXT_KIND_CODE",
                                       field, static_cast<int>(kind)),
                       field);
  }
}

void ToWire(scan::Finding finding, v1::Finding& out) {
  out.set_rule(std::move(finding.rule));
  out.set_type(std::move(finding.type));
  out.set_match(ValidUtf8(std::move(finding.match)));
  out.set_line(finding.line);
  out.set_begin(finding.begin);
  out.set_end(finding.end);
  out.set_severity(SeverityToWire(finding.severity));
  out.set_message(std::move(finding.message));
  const std::string_view category = Name(finding.category);
  out.set_category(category.data(), category.size());
}

void ToWire(const absl::Status& status, v1::RequestError& out) {
  out.set_code(static_cast<int>(status.code()));
  out.set_message(std::string(Message(status)));
  out.set_field(FieldOf(status));
}

}  // namespace weft::scanner
