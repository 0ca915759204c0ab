#include "libs/scan/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <string>

#include "libs/base/status.h"

namespace weft::scan {
namespace {

// Windows are a few hundred bytes: an honest pattern needs thousands of steps, not millions.
constexpr uint32_t kMatchLimit = 2'000'000;
constexpr uint32_t kHeapLimitKib = 4096;
constexpr size_t kJitStackStart = 32 * 1024;
constexpr size_t kJitStackMax = 512 * 1024;
constexpr size_t kMaxPatternBytes = 4096;

PCRE2_SPTR Units(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

std::string ErrorText(int code) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

struct CompileContext {
  pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
  CompileContext() {
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_set_bsr(context, PCRE2_BSR_ANYCRLF);
    pcre2_set_parens_nest_limit(context, 64);
    pcre2_set_max_pattern_length(context, 4 * kMaxPatternBytes);
  }
  ~CompileContext() { pcre2_compile_context_free(context); }
  CompileContext(const CompileContext&) = delete;
  CompileContext& operator=(const CompileContext&) = delete;
};

}  // namespace

struct Regex::Scratch::Impl {
  pcre2_match_data* data = pcre2_match_data_create(kMaxGroups + 1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(kJitStackStart, kJitStackMax, nullptr);

  Impl() {
    WEFT_CHECK(data != nullptr && context != nullptr);
    pcre2_set_match_limit(context, kMatchLimit);
    pcre2_set_heap_limit(context, kHeapLimitKib);
    if (stack != nullptr) pcre2_jit_stack_assign(context, nullptr, stack);
  }
  ~Impl() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    if (stack != nullptr) pcre2_jit_stack_free(stack);
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
};

Regex::Scratch::Scratch() : impl_(std::make_unique<Impl>()) {}
Regex::Scratch::~Scratch() = default;

void Regex::Free::operator()(void* code) const { pcre2_code_free(static_cast<pcre2_code*>(code)); }

absl::StatusOr<Regex> Regex::Compile(std::string_view pattern, bool caseless) {
  if (pattern.size() > kMaxPatternBytes) {
    return InvalidArgument("pattern: {} bytes, at most {} are allowed", pattern.size(),
                           kMaxPatternBytes);
  }
  const CompileContext compile;
  int error = 0;
  PCRE2_SIZE offset = 0;
  // \C and \K would break the rule that a match lies where it says.
  const uint32_t options = PCRE2_NEVER_BACKSLASH_C | PCRE2_NEVER_UTF | PCRE2_NEVER_UCP |
                           (caseless ? PCRE2_CASELESS : 0U);
  Regex regex;
  pcre2_code* code =
      pcre2_compile(Units(pattern), pattern.size(), options, &error, &offset, compile.context);
  if (code == nullptr) {
    return InvalidArgument("pattern: {} at byte {}", ErrorText(error), offset);
  }
  regex.code_.reset(code);
  uint32_t lookbehind = 0;
  uint32_t groups = 0;
  uint32_t match_empty = 0;
  pcre2_pattern_info(code, PCRE2_INFO_MAXLOOKBEHIND, &lookbehind);
  pcre2_pattern_info(code, PCRE2_INFO_CAPTURECOUNT, &groups);
  pcre2_pattern_info(code, PCRE2_INFO_MATCHEMPTY, &match_empty);
  if (lookbehind > kMaxLookbehind) {
    return InvalidArgument("pattern: looks back {} bytes, at most {} are allowed", lookbehind,
                           kMaxLookbehind);
  }
  if (groups > static_cast<uint32_t>(kMaxGroups)) {
    return InvalidArgument("pattern: {} capture groups, at most {} are allowed", groups,
                           kMaxGroups);
  }
  if (match_empty != 0) return InvalidArgument("pattern: it matches the empty text");
  for (size_t i = 0; i + 1 < pattern.size(); ++i) {
    if (pattern[i] != '\\') continue;
    if (pattern[i + 1] == 'K') return InvalidArgument("pattern: \\K is not allowed");
    ++i;
  }
  regex.groups_ = static_cast<int>(groups);
  // Without JIT (some hardened systems) the interpreter gives the same answers more slowly.
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD);
  return regex;
}

Regex::Match Regex::Search(std::string_view subject, size_t start, bool at_begin, bool partial,
                           int group, Scratch& scratch) const {
  Match match;
  if (start > subject.size()) return match;
  const uint32_t options = (at_begin ? 0U : PCRE2_NOTBOL) | (partial ? PCRE2_PARTIAL_HARD : 0U);
  const auto* code = static_cast<const pcre2_code*>(code_.get());
  const int rc = pcre2_match(code, Units(subject), subject.size(), start, options,
                             scratch.impl_->data, scratch.impl_->context);
  if (rc == PCRE2_ERROR_NOMATCH) return match;
  if (rc < 0 && rc != PCRE2_ERROR_PARTIAL) {
    match.kind = Match::kGaveUp;
    return match;
  }
  const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(scratch.impl_->data);
  match.kind = rc == PCRE2_ERROR_PARTIAL ? Match::kPartial : Match::kFull;
  match.begin = match.group_begin = offsets[0];
  match.end = match.group_end = offsets[1];
  if (match.kind == Match::kFull && group > 0 && group < rc && offsets[2 * group] != PCRE2_UNSET) {
    match.group_begin = offsets[2 * group];
    match.group_end = offsets[2 * group + 1];
  }
  return match;
}

}  // namespace weft::scan
