#include "libs/scan/scanner.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "libs/base/status.h"
#include "libs/scan/checks.h"
#include "libs/scan/compiled.h"
#include "libs/scan/mask.h"
#include "libs/scan/python_text.h"
#include "libs/scan/rule_set.h"

// How a match is found in the same way however the text is cut
//
// The *segment* of a rule is the current line, or the whole text. Windows of 2H bytes begin at
// every H bytes of a segment (H = RuleSetOptions::window_bytes). A match that begins in window k's
// first half is judged by PCRE2 on the segment up to the end of window k, and if the segment goes
// on there, it must end before that: so what is found depends on at most 2H bytes, counted from a
// place that the cuts do not move. While text is still missing, PCRE2's hard partial mode says from
// where a match could still begin: that is where clear_through stops.
//
// Vectorscan sees every byte once and tells which rules ended a match in which line (or in the
// text); PCRE2 runs for these only, besides on the last, unfinished bytes of each Append.
namespace weft::scan {
namespace {

constexpr size_t kBlockBytes = 32 * 1024;
constexpr uint64_t kContextBytes = Regex::kMaxLookbehind;
// Findings that continue others, for each that options.max_findings allows.
constexpr size_t kContinuedPerFinding = 16;
constexpr uint64_t kNoLimit = std::numeric_limits<uint64_t>::max();

// A match in absolute offsets.
struct Span {
  uint64_t begin;
  uint64_t end;
  uint64_t group_begin;
  uint64_t group_end;
};

struct Segment {
  uint64_t begin;
  uint64_t end;  // as far as it is known
  bool done;     // nothing follows
};

std::string Lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

bool Applies(const Rule& rule, TextKind kind, const std::string& language) {
  if (!rule.kinds[static_cast<size_t>(kind)]) return false;
  return language.empty() || rule.languages.empty() ||
         std::find(rule.languages.begin(), rule.languages.end(), language) != rule.languages.end();
}

bool Accepts(const Rule& rule, std::string_view secret) {
  if (rule.min_entropy > 0.0 && Entropy(secret) < rule.min_entropy) return false;
  return std::all_of(rule.checks.begin(), rule.checks.end(),
                     [&](Check check) { return Passes(check, secret); });
}

bool Continues(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// Bytes of the UTF-8 character that this byte begins; 1 for anything else.
size_t CharacterBytes(char c) {
  const auto byte = static_cast<unsigned char>(c);
  if (byte >= 0xF0 && byte < 0xF8) return 4;
  if (byte >= 0xE0) return byte < 0xF0 ? 3 : 1;
  return byte >= 0xC0 ? 2 : 1;
}

}  // namespace

struct StreamScanner::State {
  State(std::shared_ptr<const RuleSet> rule_set, ScanOptions scan_options);
  ~State() {
    if (stream != nullptr) hs_close_stream(stream, nullptr, nullptr, nullptr);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  void ScanBlock(std::string_view block);
  void Finish();
  Progress Take();

  const std::shared_ptr<const RuleSet> rules;
  const RuleSet::Compiled& compiled;
  const ScanOptions options;
  const uint64_t half;  // H
  hs_stream_t* stream = nullptr;
  RuleSet::Compiled::Scratch* scratch = nullptr;  // while a call runs

  std::vector<uint32_t> line_rules;   // at most one finding a line
  std::vector<uint32_t> match_rules;  // every match, in a line
  std::vector<uint32_t> text_rules;   // every match, in the text
  std::vector<uint8_t> active;        // by rule
  // By rule: no match that is still to be reported begins before. Of line rules, see From().
  std::vector<uint64_t> next;

  std::string buffer;  // the text from `base` on
  uint64_t base = 0;
  uint64_t size = 0;
  uint64_t clear = 0;
  uint64_t line_begin = 0;
  uint32_t line = 1;
  uint64_t window = 0;  // of the current line: the first that may still get text

  // Rules that ended a match in the current line; text rules: since they last had nothing pending.
  std::vector<uint32_t> candidates;
  std::vector<uint8_t> is_candidate;

  struct Hit {
    size_t line;  // index into `newlines`
    uint32_t rule;
  };
  std::vector<uint64_t> newlines;  // of the block
  std::vector<Hit> hits;
  std::vector<size_t> last_hit_line;  // by rule, + 1; 0: none in this block

  // Matches of rules with `follow`: where each may go on.
  struct Follow {
    uint32_t rule;
    uint64_t at;
  };
  std::vector<Follow> follows;

  std::vector<std::pair<uint32_t, Finding>> found;
  size_t reported = 0;
  size_t continued = 0;
  bool truncated = false;
  bool closed = false;

 private:
  static int OnHit(unsigned rule, unsigned long long, unsigned long long to, unsigned, void* self);
  void AddCandidate(uint32_t rule);
  void CompleteLine(uint64_t end);
  void EndBlock();
  void ReportLine(uint32_t rule, const Segment& segment, uint64_t start_limit);
  void ReportMatches(uint32_t rule, const Segment& segment);
  void ReportFollows(bool done);
  void Add(uint32_t rule, const Span& first, uint64_t end, std::string match);
  void Skip(uint32_t rule, uint64_t segment_begin);
  void Hold(uint32_t rule, uint64_t& sure);
  void Trim();

  // Calls `take` for every accepted match that begins at or after next[rule] and before
  // `start_limit`, in order. When it returns false, or a match needs more text, the walk ends
  // there.
  template <typename OnSpan>
  void Walk(uint32_t rule, const Segment& segment, uint64_t start_limit, OnSpan take);

  std::string_view View(uint64_t begin, uint64_t end) const {
    return std::string_view(buffer).substr(begin - base, end - begin);
  }
  const Rule& RuleAt(uint32_t rule) const { return rules->rules()[rule]; }
  std::string LineText(const Segment& segment) const;
  std::string MatchText(uint32_t rule, const Span& span) const;
  std::string Shown(std::string_view text, bool cut, Ranges own) const;
  uint32_t LineOf(uint64_t offset) const;
  uint64_t CharacterFloor(uint64_t offset) const;
};

StreamScanner::State::State(std::shared_ptr<const RuleSet> rule_set, ScanOptions scan_options)
    : rules(std::move(rule_set)),
      compiled(rules->compiled()),
      options(std::move(scan_options)),
      half(rules->options().window_bytes) {
  const size_t count = rules->rules().size();
  active.assign(count, 0);
  next.assign(count, 0);
  is_candidate.assign(count, 0);
  last_hit_line.assign(count, 0);
  const std::string language = Lower(options.language);
  for (uint32_t i = 0; i < count; ++i) {
    const Rule& rule = RuleAt(i);
    if (!Applies(rule, options.kind, language)) continue;
    active[i] = 1;
    if (rule.scope == Scope::kText) {
      text_rules.push_back(i);
    } else {
      (rule.report == Report::kLine ? line_rules : match_rules).push_back(i);
    }
  }
  WEFT_CHECK(hs_open_stream(compiled.database, 0, &stream) == HS_SUCCESS);
}

int StreamScanner::State::OnHit(unsigned rule, unsigned long long, unsigned long long to, unsigned,
                                void* self) {
  State& state = *static_cast<State*>(self);
  if (state.active[rule] == 0) return 0;
  // The line of the match's last byte; a newline belongs to the line that it ends.
  const auto newline =
      std::lower_bound(state.newlines.begin(), state.newlines.end(), to,
                       [](uint64_t offset, uint64_t end) { return offset + 1 < end; });
  const size_t line = static_cast<size_t>(newline - state.newlines.begin());
  if (state.last_hit_line[rule] == line + 1) return 0;
  state.last_hit_line[rule] = line + 1;
  state.hits.push_back({line, rule});
  return 0;
}

void StreamScanner::State::AddCandidate(uint32_t rule) {
  if (is_candidate[rule] != 0) return;
  is_candidate[rule] = 1;
  if (RuleAt(rule).scope == Scope::kLine) candidates.push_back(rule);
}

void StreamScanner::State::ScanBlock(std::string_view block) {
  newlines.clear();
  hits.clear();
  for (size_t at = 0; at < block.size();) {
    const void* found_at = std::memchr(block.data() + at, '\n', block.size() - at);
    if (found_at == nullptr) break;
    at = static_cast<size_t>(static_cast<const char*>(found_at) - block.data());
    newlines.push_back(size + at);
    ++at;
  }
  buffer += block;
  size += block.size();
  WEFT_CHECK(hs_scan_stream(stream, block.data(), static_cast<unsigned>(block.size()), 0,
                            scratch->hs, &State::OnHit, this) == HS_SUCCESS);
  std::stable_sort(hits.begin(), hits.end(),
                   [](const Hit& a, const Hit& b) { return a.line < b.line; });
  auto hit = hits.begin();
  for (size_t i = 0; i < newlines.size(); ++i) {
    for (; hit != hits.end() && hit->line == i; ++hit) AddCandidate(hit->rule);
    CompleteLine(newlines[i]);
  }
  for (; hit != hits.end(); ++hit) AddCandidate(hit->rule);
  for (const Hit& h : hits) last_hit_line[h.rule] = 0;
  EndBlock();
}

// `end` is the offset of the newline, or of the end of the text.
void StreamScanner::State::CompleteLine(uint64_t end) {
  if (!candidates.empty()) {
    const Segment segment{line_begin, end, /*done=*/true};
    // The windows that are full by now, as if the text had come in smaller pieces.
    while (end - line_begin > (window + 2) * half) {
      for (const uint32_t rule : candidates) {
        if (RuleAt(rule).report == Report::kLine) {
          ReportLine(rule, segment, line_begin + (window + 1) * half);
        }
      }
      ++window;
    }
    for (const uint32_t rule : candidates) {
      is_candidate[rule] = 0;
      if (RuleAt(rule).report == Report::kLine) {
        ReportLine(rule, segment, kNoLimit);
      } else {
        ReportMatches(rule, segment);
      }
    }
    candidates.clear();
  }
  line_begin = end + 1;
  ++line;
  window = 0;
}

void StreamScanner::State::EndBlock() {
  const Segment current{line_begin, size, /*done=*/false};
  while (size - line_begin > (window + 2) * half) {
    for (const uint32_t rule : candidates) {
      if (RuleAt(rule).report == Report::kLine) {
        ReportLine(rule, current, line_begin + (window + 1) * half);
      }
    }
    ++window;
  }
  uint64_t sure = size;
  for (const uint32_t rule : line_rules) {
    Skip(rule, line_begin);
    // A match is held until its line ends, for the line is what is reported.
    Walk(rule, current, kNoLimit, [](const Span&) { return false; });
    Hold(rule, sure);
  }
  for (const uint32_t rule : match_rules) {
    if (is_candidate[rule] == 0) Skip(rule, line_begin);
    ReportMatches(rule, current);
    Hold(rule, sure);
  }
  for (const uint32_t rule : text_rules) {
    if (is_candidate[rule] == 0) Skip(rule, 0);
    ReportMatches(rule, {0, size, false});
    is_candidate[rule] = 0;
    Hold(rule, sure);
  }
  ReportFollows(/*done=*/false);
  for (const Follow& follow : follows) sure = std::min(sure, follow.at);
  clear = std::max(clear, CharacterFloor(sure));
  Trim();
}

void StreamScanner::State::Hold(uint32_t rule, uint64_t& sure) {
  if (next[rule] >= size) return;
  sure = std::min(sure, next[rule]);
  AddCandidate(rule);
}

// Vectorscan saw no match of the rule end: none begins in a window that is full. (Of line rules:
// those were reported when their windows filled.)
void StreamScanner::State::Skip(uint32_t rule, uint64_t segment_begin) {
  const uint64_t bytes = size - segment_begin;
  const uint64_t full = bytes <= 2 * half ? 0 : (bytes - 2 * half + half - 1) / half;
  next[rule] = std::max(next[rule], segment_begin + full * half);
}

template <typename OnSpan>
void StreamScanner::State::Walk(uint32_t rule, const Segment& segment, uint64_t start_limit,
                                OnSpan take) {
  const Regex& regex = compiled.regexes[rule];
  const Rule& data = RuleAt(rule);
  uint64_t at = std::max(next[rule], segment.begin);
  while (at < segment.end && at < start_limit) {
    const uint64_t k = (at - segment.begin) / half;
    const uint64_t owned = segment.begin + (k + 1) * half;
    const uint64_t limit = owned + half;
    const bool cut = segment.end > limit;
    const bool more = !cut && !segment.done;
    const uint64_t end = cut ? limit : segment.end;
    const uint64_t context = at - std::min(at - segment.begin, kContextBytes);
    const Regex::Match match =
        regex.Search(View(context, end), at - context, context == segment.begin, more, data.group,
                     scratch->regex);
    if (match.kind == Regex::Match::kNone || match.kind == Regex::Match::kGaveUp) {
      at = cut ? owned : end;
      continue;
    }
    const Span span{context + match.begin, context + match.end, context + match.group_begin,
                    context + match.group_end};
    if (cut && span.begin >= owned) {
      at = owned;
      continue;
    }
    at = span.begin;
    if (at >= start_limit || match.kind == Regex::Match::kPartial) break;
    // A match up to the very end of its window would depend on what the window cuts off.
    if (more && span.end == limit) break;
    if ((cut && span.end == limit) || !Accepts(data, View(span.group_begin, span.group_end))) {
      ++at;
      continue;
    }
    if (!take(span)) break;
    at = span.end;
  }
  next[rule] = std::max(next[rule], at);
}

void StreamScanner::State::ReportMatches(uint32_t rule, const Segment& segment) {
  Walk(rule, segment, kNoLimit, [&](const Span& span) {
    if (reported >= options.max_findings) {  // before the work of an excerpt
      truncated = true;
      return true;
    }
    Add(rule, span, span.group_end, MatchText(rule, span));
    if (compiled.follows[rule].has_value() && !truncated) follows.push_back({rule, span.end});
    return true;
  });
}

// Each repetition is judged on a window of its own, as a match is.
void StreamScanner::State::ReportFollows(bool done) {
  std::erase_if(follows, [&](Follow& follow) {
    const Regex& regex = *compiled.follows[follow.rule];
    while (true) {
      const uint64_t limit = follow.at + 2 * half;
      const bool more = size <= limit && !done;
      const uint64_t end = std::min(size, limit);
      const uint64_t context = follow.at - std::min(follow.at - base, kContextBytes);
      const Regex::Match match = regex.Search(View(context, end), follow.at - context, context == 0,
                                              more, 0, scratch->regex);
      if (more && (follow.at == size || match.kind == Regex::Match::kPartial ||
                   (match.kind == Regex::Match::kFull && context + match.end == limit))) {
        return false;
      }
      if (match.kind != Regex::Match::kFull || (context + match.end == limit && size > limit)) {
        return true;
      }
      const uint64_t next_at = context + match.end;
      Add(follow.rule, {follow.at, next_at, follow.at, next_at}, next_at, "");
      follow.at = next_at;
      if (truncated) return true;
    }
  });
}

void StreamScanner::State::ReportLine(uint32_t rule, const Segment& segment, uint64_t start_limit) {
  Span first{};
  uint64_t end = 0;
  bool any = false;
  Walk(rule, segment, start_limit, [&](const Span& span) {
    if (!any) first = span;
    any = true;
    end = span.group_end;
    return true;
  });
  if (!any) return;
  const bool whole_line = start_limit == kNoLimit && window == 0;
  Add(rule, first, end, whole_line ? LineText(segment) : MatchText(rule, first));
}

void StreamScanner::State::Add(uint32_t rule, const Span& first, uint64_t end, std::string match) {
  size_t& count = match.empty() ? continued : reported;
  if (count >= options.max_findings * (match.empty() ? kContinuedPerFinding : 1)) {
    truncated = true;
    return;
  }
  ++count;
  const Rule& data = RuleAt(rule);
  Finding finding;
  finding.rule = data.id;
  finding.type = data.type;
  finding.category = data.category;
  finding.severity = data.severity;
  finding.message = data.message;
  finding.match = std::move(match);
  finding.line = LineOf(first.begin);
  finding.begin = first.group_begin;
  finding.end = end;
  found.emplace_back(rule, std::move(finding));
}

std::string StreamScanner::State::Shown(std::string_view text, bool cut, Ranges own) const {
  if (!options.mask_secrets) return std::string(PythonStrip(text));
  Ranges ranges = SecretRanges(*rules, text, cut, scratch->regex);
  ranges.insert(ranges.end(), own.begin(), own.end());
  return std::string(PythonStrip(Mask(text, std::move(ranges))));
}

std::string StreamScanner::State::LineText(const Segment& segment) const {
  return Shown(View(segment.begin, segment.end), /*cut=*/false, {});
}

std::string StreamScanner::State::MatchText(uint32_t rule, const Span& span) const {
  const Rule& data = RuleAt(rule);
  Ranges own;
  if (data.category == Category::kSecret || data.group > 0) {
    own.emplace_back(span.group_begin - span.begin, span.group_end - span.begin);
  }
  return Shown(View(span.begin, span.end), /*cut=*/true, std::move(own));
}

uint32_t StreamScanner::State::LineOf(uint64_t offset) const {
  if (offset >= line_begin) return line;
  const std::string_view between = View(offset, line_begin);
  return line - static_cast<uint32_t>(std::count(between.begin(), between.end(), '\n'));
}

uint64_t StreamScanner::State::CharacterFloor(uint64_t offset) const {
  for (uint64_t back = 0; back <= 3 && back <= offset - base; ++back) {
    const uint64_t at = offset - back;
    if (at == size) continue;
    const char c = buffer[at - base];
    if (Continues(c)) continue;
    return back < CharacterBytes(c) ? at : offset;
  }
  return offset;
}

// Forgets text that no rule, no excerpt and no lookbehind needs. Seldom, for it moves the rest.
void StreamScanner::State::Trim() {
  uint64_t keep = window == 0 ? std::min(line_begin, size) : size;
  for (const uint32_t rule : line_rules) keep = std::min(keep, next[rule]);
  for (const uint32_t rule : match_rules) keep = std::min(keep, next[rule]);
  for (const uint32_t rule : text_rules) keep = std::min(keep, next[rule]);
  for (const Follow& follow : follows) keep = std::min(keep, follow.at);
  keep -= std::min(keep - std::min(keep, base), kContextBytes);
  if (keep - base < 4 * half) return;
  buffer.erase(0, keep - base);
  base = keep;
}

void StreamScanner::State::Finish() {
  newlines.clear();
  hits.clear();
  WEFT_CHECK(hs_close_stream(stream, scratch->hs, &State::OnHit, this) == HS_SUCCESS);
  stream = nullptr;
  for (const Hit& hit : hits) AddCandidate(hit.rule);
  for (const uint32_t rule : text_rules) ReportMatches(rule, {0, size, /*done=*/true});
  CompleteLine(size);
  ReportFollows(/*done=*/true);
  clear = size;
  closed = true;
}

StreamScanner::Progress StreamScanner::State::Take() {
  std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second.begin, a.first) < std::pair(b.second.begin, b.first);
  });
  Progress progress;
  progress.clear_through = clear;
  progress.findings.reserve(found.size());
  for (auto& entry : found) progress.findings.push_back(std::move(entry.second));
  found.clear();
  return progress;
}

StreamScanner::StreamScanner(std::shared_ptr<const RuleSet> rules, ScanOptions options)
    : state_(std::make_unique<State>(std::move(rules), std::move(options))) {}
StreamScanner::~StreamScanner() = default;
StreamScanner::StreamScanner(StreamScanner&&) noexcept = default;
StreamScanner& StreamScanner::operator=(StreamScanner&&) noexcept = default;

StreamScanner::Progress StreamScanner::Append(std::string_view text) {
  WEFT_CHECK(!state_->closed);
  const RuleSet::Compiled::Lease scratch(state_->compiled);
  state_->scratch = &*scratch;
  for (; !text.empty(); text.remove_prefix(std::min(text.size(), kBlockBytes))) {
    state_->ScanBlock(text.substr(0, kBlockBytes));
  }
  return state_->Take();
}

StreamScanner::Progress StreamScanner::Close() {
  WEFT_CHECK(!state_->closed);
  const RuleSet::Compiled::Lease scratch(state_->compiled);
  state_->scratch = &*scratch;
  state_->Finish();
  return state_->Take();
}

uint64_t StreamScanner::bytes() const { return state_->size; }
bool StreamScanner::truncated() const { return state_->truncated; }

ScanResult ScanText(const RuleSet& rules, std::string_view text, const ScanOptions& options) {
  // The stream does not outlive the call, so it may borrow the rules.
  StreamScanner stream(std::shared_ptr<const RuleSet>(std::shared_ptr<void>(), &rules), options);
  StreamScanner::Progress whole = stream.Append(text);
  StreamScanner::Progress rest = stream.Close();
  ScanResult result;
  result.findings = std::move(whole.findings);
  result.findings.insert(result.findings.end(), std::make_move_iterator(rest.findings.begin()),
                         std::make_move_iterator(rest.findings.end()));
  result.truncated = stream.truncated();
  return result;
}

}  // namespace weft::scan
