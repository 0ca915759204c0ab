#include "libs/scan/rule_set.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <unordered_map>
#include <unordered_set>

#include "libs/base/status.h"
#include "libs/scan/checks.h"
#include "libs/scan/compiled.h"
#include "libs/scan/examples.h"
#include "libs/scan/python_text.h"

namespace weft::scan {
namespace {

constexpr size_t kMaxRules = 4000;
constexpr size_t kMaxIdleScratch = 64;
constexpr std::uintmax_t kMaxRuleFileBytes = 1 << 20;

// FNV-1a over length-prefixed fields.
class Fingerprint {
 public:
  void Add(std::string_view text) {
    Add(static_cast<uint64_t>(text.size()));
    for (const char c : text) Byte(static_cast<uint8_t>(c));
  }
  void Add(uint64_t number) {
    for (int i = 0; i < 8; ++i) Byte(static_cast<uint8_t>(number >> (8 * i)));
  }
  std::string Hex() const { return fmt::format("{:016x}", hash_); }

 private:
  void Byte(uint8_t byte) { hash_ = (hash_ ^ byte) * 0x100000001B3ULL; }
  uint64_t hash_ = 0xCBF29CE484222325ULL;
};

std::string Version(const std::vector<Rule>& rules, const RuleSetOptions& options) {
  Fingerprint print;
  print.Add(uint64_t{options.window_bytes});
  for (const Rule& rule : rules) {
    print.Add(rule.id);
    print.Add(rule.type);
    print.Add(rule.pattern);
    print.Add(rule.follow);
    print.Add(fmt::format("{} {} {} {} {} {} {} {}", static_cast<int>(rule.category),
                          static_cast<int>(rule.severity), rule.caseless, rule.unicode,
                          static_cast<int>(rule.scope), static_cast<int>(rule.report), rule.group,
                          rule.min_entropy));
    for (const bool kind : rule.kinds) print.Add(uint64_t{kind});
    for (const Check check : rule.checks) print.Add(Name(check));
    for (const std::string& language : rule.languages) print.Add(language);
  }
  return print.Hex();
}

absl::Status AtRule(const Rule& rule, absl::Status status) {
  return Annotate(std::move(status), fmt::format("{}: rule {}", rule.where, rule.id));
}

// The flags with which Vectorscan takes the pattern: constructs that it lacks (lookarounds, back
// references) are widened, since PCRE2 settles every hit anyway.
absl::StatusOr<unsigned> VectorscanFlags(const Rule& rule, const std::string& pattern) {
  const unsigned flags = (rule.caseless ? HS_FLAG_CASELESS : 0U) |
                         (rule.scope == Scope::kLine ? HS_FLAG_MULTILINE : 0U);
  std::string message;
  for (const unsigned candidate : {flags, flags | HS_FLAG_PREFILTER}) {
    hs_expr_info_t* info = nullptr;
    hs_compile_error_t* error = nullptr;
    if (hs_expression_info(pattern.c_str(), candidate, &info, &error) == HS_SUCCESS) {
      const bool empty = info->min_width == 0;
      std::free(info);
      if (!empty) return candidate;
      message = "it matches the empty text";
    } else {
      message = error->message;
      hs_free_compile_error(error);
    }
  }
  return InvalidArgument("pattern: {}", message);
}

absl::StatusOr<std::vector<Rule>> BuiltinRules() {
  std::vector<Rule> rules;
  for (const BuiltinRuleFile& file : BuiltinRuleFiles()) {
    WEFT_ASSIGN_OR_RETURN(std::vector<Rule> parsed, ParseRules(file.yaml, std::string(file.name)));
    std::move(parsed.begin(), parsed.end(), std::back_inserter(rules));
  }
  return rules;
}

absl::StatusOr<std::string> ReadRuleFile(const std::filesystem::path& path) {
  std::error_code error;
  const std::uintmax_t bytes = std::filesystem::file_size(path, error);
  if (error) return Unavailable("{}: {}", path.string(), error.message());
  if (bytes > kMaxRuleFileBytes) {
    return InvalidArgument("{}: {} bytes, at most {} are allowed", path.string(), bytes,
                           kMaxRuleFileBytes);
  }
  std::ifstream in(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (!in) return Unavailable("{}: cannot be read", path.string());
  return text;
}

absl::Status Disable(const std::vector<std::string>& ids, std::vector<Rule>& rules) {
  for (const std::string& id : ids) {
    const auto gone =
        std::remove_if(rules.begin(), rules.end(), [&](const Rule& rule) { return rule.id == id; });
    if (gone == rules.end()) return InvalidArgument("disabled: there is no rule \"{}\"", id);
    rules.erase(gone, rules.end());
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RuleSetOptions::Validate() const {
  if (window_bytes < 64 || window_bytes > 65536) {
    return InvalidArgument("window_bytes: {} is not in 64 to 65536", window_bytes);
  }
  return absl::OkStatus();
}

RuleSet::Compiled::~Compiled() {
  hs_free_scratch(prototype);
  hs_free_database(database);
}

std::unique_ptr<RuleSet::Compiled::Scratch> RuleSet::Compiled::Take() const {
  {
    std::lock_guard lock(mutex);
    if (!idle.empty()) {
      std::unique_ptr<Scratch> scratch = std::move(idle.back());
      idle.pop_back();
      return scratch;
    }
  }
  auto scratch = std::make_unique<Scratch>();
  WEFT_CHECK(hs_clone_scratch(prototype, &scratch->hs) == HS_SUCCESS);
  return scratch;
}

void RuleSet::Compiled::Return(std::unique_ptr<Scratch> scratch) const {
  std::lock_guard lock(mutex);
  if (idle.size() < kMaxIdleScratch) idle.push_back(std::move(scratch));
}

RuleSet::RuleSet(std::vector<Rule> rules, RuleSetOptions options,
                 std::unique_ptr<Compiled> compiled)
    : rules_(std::move(rules)),
      options_(std::move(options)),
      version_(Version(rules_, options_)),
      compiled_(std::move(compiled)) {}

RuleSet::~RuleSet() = default;

size_t RuleSet::stream_bytes() const { return compiled_->stream_bytes; }

absl::StatusOr<std::shared_ptr<const RuleSet>> RuleSet::Builtin(RuleSetOptions options) {
  WEFT_ASSIGN_OR_RETURN(std::vector<Rule> rules, BuiltinRules());
  WEFT_RETURN_IF_ERROR(Disable(options.disabled, rules));
  return Compile(std::move(rules), std::move(options));
}

absl::StatusOr<std::shared_ptr<const RuleSet>> RuleSet::WithDirectory(const std::string& directory,
                                                                      RuleSetOptions options) {
  WEFT_ASSIGN_OR_RETURN(std::vector<Rule> rules, BuiltinRules());
  std::unordered_map<std::string, size_t> by_id;
  for (size_t i = 0; i < rules.size(); ++i) by_id[rules[i].id] = i;

  std::error_code error;
  std::vector<std::filesystem::path> paths;
  for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end;
       it.increment(error)) {
    if (it->path().extension() == ".yaml") paths.push_back(it->path());
  }
  if (error) return InvalidArgument("rules directory {}: {}", directory, error.message());
  std::sort(paths.begin(), paths.end());
  for (const std::filesystem::path& path : paths) {
    WEFT_ASSIGN_OR_RETURN(const std::string yaml, ReadRuleFile(path));
    WEFT_ASSIGN_OR_RETURN(std::vector<Rule> parsed, ParseRules(yaml, path.string()));
    std::unordered_set<std::string> in_file;
    for (Rule& rule : parsed) {
      if (!in_file.insert(rule.id).second) {
        return AtRule(rule, InvalidArgument("id: used twice in this file"));
      }
      const auto [it, added] = by_id.emplace(rule.id, rules.size());
      if (added) {
        rules.push_back(std::move(rule));
      } else {
        rules[it->second] = std::move(rule);
      }
    }
  }
  WEFT_RETURN_IF_ERROR(Disable(options.disabled, rules));
  WEFT_ASSIGN_OR_RETURN(auto set, Compile(std::move(rules), std::move(options)));
  WEFT_RETURN_IF_ERROR(CheckExamples(*set));
  return set;
}

absl::StatusOr<std::shared_ptr<const RuleSet>> RuleSet::Compile(std::vector<Rule> rules,
                                                                RuleSetOptions options) {
  WEFT_RETURN_IF_ERROR(options.Validate());
  if (rules.empty()) return InvalidArgument("rules: none are left");
  if (rules.size() > kMaxRules) {
    return InvalidArgument("rules: {} entries, at most {} are allowed", rules.size(), kMaxRules);
  }
  auto compiled = std::make_unique<Compiled>();
  std::unordered_set<std::string> ids;
  std::vector<std::string> patterns;
  std::vector<unsigned> flags;
  std::vector<unsigned> numbers;
  for (size_t i = 0; i < rules.size(); ++i) {
    const Rule& rule = rules[i];
    if (!ids.insert(rule.id).second) return AtRule(rule, InvalidArgument("id: used twice"));
    if (std::none_of(std::begin(rule.kinds), std::end(rule.kinds),
                     [](bool kind) { return kind; })) {
      return AtRule(rule, InvalidArgument("kinds: none is given"));
    }
    std::string pattern = rule.pattern;
    if (rule.unicode) {
      auto expanded = ExpandPythonPattern(rule.pattern, rule.caseless);
      if (!expanded.ok()) return AtRule(rule, expanded.status());
      pattern = *std::move(expanded);
    }
    auto regex = Regex::Compile(pattern, rule.caseless);
    if (!regex.ok()) return AtRule(rule, regex.status());
    if (rule.group > regex->groups()) {
      return AtRule(rule, InvalidArgument("group: {}, but the pattern has {} groups", rule.group,
                                          regex->groups()));
    }
    compiled->follows.emplace_back();
    if (!rule.follow.empty()) {
      auto follow = Regex::Compile("\\G(?:" + rule.follow + ")", rule.caseless);
      if (!follow.ok()) return AtRule(rule, Annotate(follow.status(), "follow"));
      compiled->follows.back() = *std::move(follow);
    }
    auto flag = VectorscanFlags(rule, pattern);
    if (!flag.ok()) return AtRule(rule, flag.status());
    if (rule.category == Category::kSecret || rule.group > 0) {
      compiled->masking.push_back(static_cast<uint32_t>(i));
    }
    compiled->regexes.push_back(*std::move(regex));
    patterns.push_back(std::move(pattern));
    flags.push_back(*flag);
    numbers.push_back(static_cast<unsigned>(i));
  }
  std::vector<const char*> expressions;
  expressions.reserve(patterns.size());
  for (const std::string& pattern : patterns) expressions.push_back(pattern.c_str());
  hs_compile_error_t* error = nullptr;
  if (hs_compile_multi(expressions.data(), flags.data(), numbers.data(),
                       static_cast<unsigned>(expressions.size()), HS_MODE_STREAM, nullptr,
                       &compiled->database, &error) != HS_SUCCESS) {
    const int which = error->expression;
    absl::Status status = InvalidArgument("pattern: {}", error->message);
    hs_free_compile_error(error);
    return which >= 0 ? AtRule(rules[static_cast<size_t>(which)], std::move(status)) : status;
  }
  if (hs_alloc_scratch(compiled->database, &compiled->prototype) != HS_SUCCESS ||
      hs_stream_size(compiled->database, &compiled->stream_bytes) != HS_SUCCESS) {
    return ResourceExhausted("rules: no memory for the matcher");
  }
  return std::shared_ptr<const RuleSet>(
      new RuleSet(std::move(rules), std::move(options), std::move(compiled)));
}

}  // namespace weft::scan
