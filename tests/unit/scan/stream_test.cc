// The promise of streams: the same findings however the text is cut, and clear_through holds.
#include <algorithm>
#include <random>
#include <tuple>

#include "libs/base/status.h"
#include "libs/scan/regex.h"
#include "libs/scan/rule_set.h"
#include "libs/scan/scanner.h"
#include "tests/support/catch.h"
#include "tests/unit/scan/support.h"

namespace weft::scan {
namespace {

auto Key(const Finding& f) { return std::tie(f.begin, f.end, f.rule, f.line, f.match); }

std::vector<Finding> Sorted(std::vector<Finding> findings) {
  std::sort(findings.begin(), findings.end(),
            [](const Finding& a, const Finding& b) { return Key(a) < Key(b); });
  return findings;
}

std::string Show(const std::vector<Finding>& findings) {
  std::string out;
  for (const Finding& f : findings) {
    out += fmt::format("{} [{}, {}) line {}: {}\n", f.rule, f.begin, f.end, f.line, f.match);
  }
  return out;
}

// Scans the pieces between the cuts and checks every progress on the way. Empty: all is well.
std::string Compare(const std::shared_ptr<const RuleSet>& rules, std::string_view text,
                    const std::vector<size_t>& cuts, const ScanOptions& options,
                    const std::vector<Finding>& whole) {
  StreamScanner stream(rules, options);
  std::vector<Finding> found;
  uint64_t clear = 0;
  const auto take = [&](StreamScanner::Progress progress) -> std::string {
    for (const Finding& f : progress.findings) {
      if (f.begin < clear) return fmt::format("{} at {} after clear {}", f.rule, f.begin, clear);
    }
    if (progress.clear_through < clear) return "clear_through moved back";
    clear = progress.clear_through;
    found.insert(found.end(), progress.findings.begin(), progress.findings.end());
    for (const Finding& f : whole) {
      const bool reported = std::find(found.begin(), found.end(), f) != found.end();
      if (f.begin < clear && !reported) {
        return fmt::format("{} at {} not reported by clear {}; whole:\n{}so far:\n{}", f.rule,
                           f.begin, clear, Show(whole), Show(found));
      }
    }
    if (clear < stream.bytes() && clear + 2 * rules->options().window_bytes + 4 < stream.bytes()) {
      return fmt::format("clear {} of {}: more than the window is held", clear, stream.bytes());
    }
    return "";
  };
  size_t at = 0;
  for (const size_t cut : cuts) {
    if (std::string e = take(stream.Append(text.substr(at, cut - at))); !e.empty()) return e;
    at = cut;
  }
  if (std::string e = take(stream.Append(text.substr(at))); !e.empty()) return e;
  if (std::string e = take(stream.Close()); !e.empty()) return e;
  if (clear != text.size()) return fmt::format("clear {} at the end of {}", clear, text.size());
  if (Sorted(found) != Sorted(whole)) {
    return "whole:\n" + Show(Sorted(whole)) + "in pieces:\n" + Show(Sorted(found));
  }
  return "";
}

std::vector<TextKind> Kinds(const Rule& rule) {
  std::vector<TextKind> kinds;
  for (int i = 0; i < kTextKinds; ++i) {
    if (rule.kinds[i]) kinds.push_back(static_cast<TextKind>(i));
  }
  return kinds;
}

TEST_CASE("Every cut of every rule's examples gives what the whole gives", "[scan][stream]") {
  const auto rules = BuiltinShared();
  for (const Rule& rule : rules->rules()) {
    std::vector<std::string> texts = rule.bad;
    texts.insert(texts.end(), rule.good.begin(), rule.good.end());
    ScanOptions options;
    options.kind = Kinds(rule).back();
    for (const std::string& example : texts) {
      const std::string text = "before\n" + example + " after\n";
      const std::vector<Finding> whole = ScanText(*rules, text, options).findings;
      for (size_t cut = 0; cut <= text.size(); ++cut) {
        const std::string difference = Compare(rules, text, {cut}, options, whole);
        if (!difference.empty()) FAIL(rule.id << " cut at " << cut << ": " << difference);
      }
    }
  }
  SUCCEED();
}

TEST_CASE("Examples in one-byte pieces and random three-way cuts", "[scan][stream]") {
  const auto rules = BuiltinShared();
  std::mt19937 random(11);
  for (const Rule& rule : rules->rules()) {
    for (const TextKind kind : Kinds(rule)) {
      ScanOptions options;
      options.kind = kind;
      for (const std::string& text : rule.bad) {
        const std::vector<Finding> whole = ScanText(*rules, text, options).findings;
        std::vector<size_t> bytes;
        for (size_t i = 1; i < text.size(); ++i) bytes.push_back(i);
        const std::string difference = Compare(rules, text, bytes, options, whole);
        if (!difference.empty()) FAIL(rule.id << " byte by byte: " << difference);
        for (int round = 0; round < 8; ++round) {
          std::vector<size_t> cuts = {random() % (text.size() + 1), random() % (text.size() + 1)};
          std::sort(cuts.begin(), cuts.end());
          const std::string three = Compare(rules, text, cuts, options, whole);
          if (!three.empty()) {
            FAIL(rule.id << " cut at " << cuts[0] << ", " << cuts[1] << ": " << three);
          }
        }
      }
    }
  }
  SUCCEED();
}

// Fragments of every rule, joined with and without line breaks, so that matches touch, overlap,
// straddle windows and stop short.
std::string RandomText(const RuleSet& rules, std::mt19937& random, size_t pieces) {
  static const std::vector<std::string> kGlue = {
      " ", "\n", "",    "\r\n", ";", "  ", "\t", "\"", "aaaaaaaaaaaaaaaaaaaaaaaaaaaa",
      "é", "€",  "\n\n"};
  std::string text;
  for (size_t i = 0; i < pieces; ++i) {
    const Rule& rule = rules.rules()[random() % rules.rules().size()];
    const auto& examples = random() % 4 == 0 ? rule.good : rule.bad;
    if (examples.empty()) continue;
    std::string piece = examples[random() % examples.size()];
    if (random() % 2 == 0 && !rule.follow.empty()) {
      // The body of a long secret.
      for (size_t lines = random() % 20; lines > 0; --lines) {
        piece += (random() % 2 == 0 ? "\n" : "") + std::string(random() % 80, 'B');
      }
    }
    if (random() % 4 == 0) piece.resize(random() % (piece.size() + 1));
    text += piece;
    text += kGlue[random() % kGlue.size()];
    if (random() % 16 == 0) text += std::string(random() % 900, "x .("[random() % 4]);
  }
  return text;
}

TEST_CASE("Random texts in random pieces give what the whole gives", "[scan][stream]") {
  std::mt19937 random(5);
  for (const size_t window : {64, 512}) {
    RuleSetOptions set_options;
    set_options.window_bytes = window;
    const auto rules = *RuleSet::Builtin(set_options);
    for (int round = 0; round < 150; ++round) {
      const std::string text = RandomText(*rules, random, 1 + random() % 40);
      ScanOptions options;
      options.kind = static_cast<TextKind>(random() % 3);
      const std::vector<Finding> whole = ScanText(*rules, text, options).findings;
      std::vector<size_t> cuts;
      const size_t largest = std::vector<size_t>{1, 7, 100, 1000}[random() % 4];
      for (size_t at = 0; at < text.size(); at += 1 + random() % largest) cuts.push_back(at);
      const std::string difference = Compare(rules, text, cuts, options, whole);
      if (!difference.empty()) FAIL("round " << round << ": " << difference << "\n" << text);
    }
  }
  SUCCEED();
}

TEST_CASE("Texts beyond a block give the same in one piece and in many", "[scan][stream]") {
  std::mt19937 random(23);
  const auto rules = BuiltinShared();
  for (int round = 0; round < 3; ++round) {
    std::string text;
    while (text.size() < 50'000) text += RandomText(*rules, random, 60);
    if (round % 2 == 1) std::replace(text.begin(), text.end(), '\n', ' ');
    ScanOptions options;
    options.kind = static_cast<TextKind>(round % 3);
    options.max_findings = 100'000;
    const std::vector<Finding> whole = ScanText(*rules, text, options).findings;
    CHECK_FALSE(whole.empty());
    for (const size_t step : {13u, 999u, 16384u, 20000u}) {
      std::vector<size_t> cuts;
      for (size_t at = step; at < text.size(); at += step) cuts.push_back(at);
      const std::string difference = Compare(rules, text, cuts, options, whole);
      if (!difference.empty()) FAIL("round " << round << " step " << step << ": " << difference);
    }
  }
}

// PCRE2 alone, line by line or over the text: what Vectorscan's hits must never miss.
std::vector<std::tuple<uint64_t, uint64_t, std::string>> Oracle(const RuleSet& rules,
                                                                std::string_view text) {
  std::vector<std::tuple<uint64_t, uint64_t, std::string>> found;
  Regex::Scratch scratch;
  for (const Rule& rule : rules.rules()) {
    const auto regex = Regex::Compile(rule.pattern, rule.caseless);
    REQUIRE(regex.ok());
    for (size_t begin = 0; begin <= text.size();) {
      size_t end = rule.scope == Scope::kLine ? text.find('\n', begin) : text.size();
      if (end == std::string_view::npos) end = text.size();
      const std::string_view segment = text.substr(begin, end - begin);
      for (size_t at = 0; at < segment.size();) {
        const Regex::Match match = regex->Search(segment, at, true, false, 0, scratch);
        if (match.kind != Regex::Match::kFull) break;
        found.emplace_back(begin + match.begin, begin + match.end, rule.id);
        at = match.end;
      }
      begin = end + 1;
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

TEST_CASE("Nothing that PCRE2 alone finds is missed", "[scan][stream]") {
  // The checks and the unicode forms are left out on both sides: the patterns are compared.
  std::vector<Rule> plain;
  for (Rule rule : Builtin().rules()) {
    rule.checks.clear();
    rule.follow.clear();
    rule.min_entropy = 0.0;
    rule.unicode = false;
    rule.group = 0;
    rule.report = Report::kMatch;
    for (bool& kind : rule.kinds) kind = true;
    plain.push_back(std::move(rule));
  }
  const auto rules = CompileRules(plain);
  std::mt19937 random(99);
  for (int round = 0; round < 150; ++round) {
    std::string text = RandomText(*rules, random, 1 + random() % 12);
    text.resize(std::min<size_t>(text.size(), 1000));  // within the windows: exact
    std::vector<std::tuple<uint64_t, uint64_t, std::string>> found;
    for (const Finding& f : ScanText(*rules, text, {.max_findings = 100'000}).findings) {
      found.emplace_back(f.begin, f.end, f.rule);
    }
    std::sort(found.begin(), found.end());
    CHECK(found == Oracle(*rules, text));
  }
}

TEST_CASE("Text is released as soon as nothing can begin in it", "[scan][stream]") {
  StreamScanner stream(BuiltinShared(), {.kind = TextKind::kOutput});
  CHECK(stream.Append("The quick brown fox ").clear_through == 20);
  // "ev" may become eval( and is held; "event" may not.
  CHECK(stream.Append("ev").clear_through == 20);
  CHECK(stream.Append("ent. ").clear_through == 27);
  // A call is held until its line ends, for its line is what is reported.
  StreamScanner::Progress progress = stream.Append("x = eval(");
  CHECK(progress.clear_through == 31);
  CHECK(progress.findings.empty());
  progress = stream.Append("input())");
  CHECK(progress.findings.empty());
  progress = stream.Append("\nOK!");
  REQUIRE(progress.findings.size() == 1);
  CHECK(progress.findings[0].match == "The quick brown fox event. x = eval(input())");
  CHECK(progress.clear_through == 48);
}

TEST_CASE("A secret is reported as soon as it cannot change", "[scan][stream]") {
  StreamScanner stream(BuiltinShared(), {.kind = TextKind::kOutput});
  const std::string key = std::string("AK") + "IAABCDEFGHIJKLMNOP";
  StreamScanner::Progress progress = stream.Append("the key " + key);
  CHECK(progress.findings.empty());
  CHECK(progress.clear_through == 8);
  progress = stream.Append(" and");
  REQUIRE(progress.findings.size() == 1);
  CHECK(progress.findings[0].begin == 8);
  CHECK(progress.findings[0].end == 28);
  CHECK(progress.findings[0].match == "AK********");
}

TEST_CASE("clear_through never splits a UTF-8 character", "[scan][stream]") {
  StreamScanner stream(BuiltinShared(), {});
  CHECK(stream.Append("a\xE2").clear_through == 1);
  CHECK(stream.Append("\x82").clear_through == 1);
  CHECK(stream.Append("\xAC").clear_through == 4);
  CHECK(stream.Append("\xF0\x9F\x98").clear_through == 4);
  CHECK(stream.Append("\x80z").clear_through == 9);
  // Bytes that are no UTF-8 are not waited for.
  CHECK(stream.Append("\x80\x80\x80\x80").clear_through == 13);
  CHECK(stream.Append("\xFF").clear_through == 14);
  CHECK(stream.Close().clear_through == 14);
}

TEST_CASE("What is held stays bounded on a line that never ends", "[scan][stream]") {
  StreamScanner stream(BuiltinShared(), {.kind = TextKind::kPrompt});
  stream.Append("<|");
  uint64_t clear = 0;
  for (int i = 0; i < 3000; ++i) clear = stream.Append("x").clear_through;
  CHECK(clear == 3002);
  stream.Append("<|");
  CHECK(stream.Append("yy").clear_through == 3002);
  const StreamScanner::Progress progress = stream.Append("|> \n");
  REQUIRE(progress.findings.size() == 1);
  CHECK(progress.findings[0].begin == 3002);
}

TEST_CASE("An empty text and empty pieces are fine", "[scan][stream]") {
  StreamScanner stream(BuiltinShared(), {});
  CHECK(stream.Append("").clear_through == 0);
  CHECK(stream.Close().clear_through == 0);
  CHECK(ScanText(Builtin(), "").findings.empty());
}

TEST_CASE("Any bytes are a text", "[scan][stream]") {
  std::mt19937 random(3);
  const auto rules = BuiltinShared();
  for (int round = 0; round < 50; ++round) {
    std::string text(random() % 3000, '\0');
    for (char& c : text) c = static_cast<char>(random());
    const std::vector<Finding> whole = ScanText(*rules, text, {}).findings;
    const std::string difference =
        Compare(rules, text, {text.size() / 3, text.size() / 2}, {}, whole);
    CHECK(difference.empty());
  }
}

}  // namespace
}  // namespace weft::scan
