#include "libs/tokenizer/chat_template.h"

#include <ctime>
#include <nlohmann/json.hpp>

#include "libs/base/clock.h"
#include "libs/base/status.h"
#include "tests/support/catch.h"
#include "tests/unit/tokenizer/model.h"

namespace weft {
namespace {

using Json = nlohmann::ordered_json;

absl::StatusOr<std::string> RenderText(std::string_view source,
                                       const Json& variables = Json::object(),
                                       const ChatTemplateLimits& limits = {}) {
  const auto parsed = ChatTemplate::Parse(source, limits);
  if (!parsed.ok()) return parsed.status();
  return parsed->RenderWith(variables);
}

std::string Error(std::string_view source, const Json& variables = Json::object()) {
  const auto out = RenderText(source, variables);
  return out.ok() ? "no error: " + *out : ToString(out.status());
}

TEST_CASE("The default model's template renders a chat", "[jinja][model]") {
  const auto tokenizer = LoadModelTokenizer();
  const auto chat = ChatTemplate::Parse(tokenizer->chat_template()).value();
  ChatRenderOptions options;
  options.bos_token = "<|im_start|>";
  options.eos_token = "<|im_end|>";
  const Json messages = Json::parse(R"([{"role": "user", "content": "Hi"}])");
  CHECK(chat.Render(messages, options).value() ==
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
        "<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  options.add_generation_prompt = false;
  const nlohmann::json plain = nlohmann::json::parse(
      R"([{"role": "system", "content": "S"}, {"role": "user", "content": "é"}])");
  CHECK(chat.Render(plain, options).value() ==
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\né<|im_end|>\n");
  const auto ids =
      tokenizer->Encode(chat.Render(messages, options).value(), {.parse_special = true});
  CHECK(std::count(ids.begin(), ids.end(), 1) == 2);  // <|im_start|> as a control token
}

TEST_CASE("Options reach the template", "[jinja]") {
  const auto chat =
      ChatTemplate::Parse(
          "{{ bos_token }}{{ messages|length }}{{ tools is none }}{{ documents }}"
          "{{ eos_token }}{{ add_generation_prompt }}{{ depth }}{{ strftime_now('%Y') }}")
          .value();
  ChatRenderOptions options;
  options.bos_token = "<b>";
  options.eos_token = "<e>";
  const Json extra = {{"depth", 3}};
  options.extra = &extra;
  const FakeClock clock;
  options.clock = &clock;
  const std::string out = chat.Render(Json::array(), options).value();
  CHECK(out.substr(0, 21) == "<b>0TrueNone<e>True3" + out.substr(20, 1));
  const Json tools = Json::parse(R"([{"z": 1, "a": 2}])");
  options.tools = &tools;
  CHECK(ChatTemplate::Parse("{{ tools|tojson }}")->Render(Json::array(), options).value() ==
        R"([{"z": 1, "a": 2}])");
  const Json wrong = Json::array();
  options.extra = &wrong;
  CHECK_FALSE(chat.Render(Json::array(), options).ok());
}

TEST_CASE("Errors name the line of the template", "[jinja]") {
  CHECK_THAT(Error("a\nb\n{% if %}"), ContainsSubstring("template line 3"));
  CHECK_THAT(Error("a\n{{ 1 / 0 }}"), ContainsSubstring("template line 2: division by zero"));
  CHECK_THAT(Error("\n\n{{ raise_exception('Roles must alternate') }}"),
             ContainsSubstring("INVALID_ARGUMENT: template line 3: Roles must alternate"));
  CHECK_THAT(Error("{{ x.y }}"), ContainsSubstring("'x' is undefined"));
  CHECK_THAT(Error("{{ x.y.z }}", {{"x", Json::object()}}),
             ContainsSubstring("'dict object' has no attribute 'y'"));
  CHECK_THAT(Error("{% for x in y recursive %}{% endfor %}"),
             ContainsSubstring("recursive loops are not supported"));
  CHECK_THAT(Error("{% include 'x' %}"),
             ContainsSubstring("'include' is not known or not supported"));
  CHECK_THAT(Error("{{ 9223372036854775807 + 1 }}"), ContainsSubstring("does not fit 64 bits"));
  CHECK_THAT(Error("{{ 99999999999999999999 }}"), ContainsSubstring("not an integer of 64 bits"));
}

TEST_CASE("A template that loops for ever is an error within milliseconds", "[jinja]") {
  const char* const endless[] = {
      // Nested loops.
      "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}"
      "{% endfor %}{% endfor %}{% endfor %}",
      // A macro that calls itself.
      "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
      "{% macro m(n) %}{% for i in range(1000) %}{{ m(n + 1) }}{% endfor %}{% endmacro %}{{ m(0) "
      "}}",
      // Text that doubles.
      "{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}"
      "{% endfor %}{{ ns.s|length }}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = ns.l + ns.l %}{% "
      "endfor %}",
      "{{ 'x' * 9999999999 }}",
      "{{ ['x'] * 9999999999 }}",
      "{{ '%9999999999d' % 1 }}",
      // Values that nest, and that would contain themselves.
      "{% set ns = namespace(l=[]) %}{% for i in range(99999) %}{% set ns.l = [ns.l] %}{% endfor "
      "%}",
      "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}",
      "{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns.x }}",
      // Work in proportion to large values, step by step.
      "{% set s = 'ab' * 4000000 %}{% for i in range(99999) %}{{ s[i] }}{% endfor %}",
      "{% set s = 'ab' * 4000000 %}{% for i in range(99999) %}{{ 'x' in s }}{% endfor %}",
      // Values that share their parts: cheap to make, dear to print or to compare.
      "{% set s = 'x' * 1000000 %}{{ [s] * 1000000 }}",
      "{% set s = 'x' * 1000000 %}{{ ([s] * 1000000)|tojson }}",
      "{% set s = 'x' * 1000000 %}{{ ([s] * 1000000)|join }}",
      "{% set s = 'x' * 1000000 %}{{ '%r' % [[s] * 1000000] }}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(90) %}{% set ns.l = [ns.l, ns.l] %}{% "
      "endfor %}"
      "{{ ns.l }}",
      "{% set ns = namespace(l=[1], m=[1]) %}{% for i in range(90) %}{% set ns.l = [ns.l, ns.l] %}"
      "{% set ns.m = [ns.m, ns.m] %}{% endfor %}{{ ns.l == ns.m }}",
      "{% set ns = namespace(l=[1], m=[1]) %}{% for i in range(90) %}{% set ns.l = [ns.l, ns.l] %}"
      "{% set ns.m = [ns.m, ns.m] %}{% endfor %}{{ ns.l < ns.m }}{{ [ns.l, ns.m]|sort }}",
      "{{ 'a'|map(*(['map'] * 100000))|list }}",
      "{{ dict(range(100000)|batch(2)|list)|length }}{{ range(100001) }}",
      "{{ range(100001) }}",
      "{{ range(9223372036854775807) }}",
      "{% for i in range(99999) %}{% for j in range(99999) %}{% continue %}{% endfor %}{% endfor "
      "%}",
  };
  for (const char* source : endless) {
    const auto begin = std::clock();
    const auto out = RenderText(source);
    const double took = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;  // of CPU
    INFO(source << " took " << took << " s: " << ToString(out.status()));
    CHECK_FALSE(out.ok());
    CHECK_THAT(std::string(Message(out.status())), ContainsSubstring("template line 1"));
    CHECK(took < 3.0);  // well below 1 s here; without limits, for ever
  }
}

TEST_CASE("Nesting is bounded when parsing", "[jinja]") {
  const auto repeat = [](std::string_view text, int times) {
    std::string out;
    for (int i = 0; i < times; ++i) out += text;
    return out;
  };
  for (const std::string& source :
       {"{{ " + repeat("(", 20000) + "1" + repeat(")", 20000) + " }}",
        "{{ " + repeat("[", 20000) + repeat("]", 20000) + " }}",
        "{{ " + repeat("not ", 20000) + "1 }}", "{{ " + repeat("-", 20000) + "1 }}",
        "{{ 1" + repeat(" + 1", 20000) + " }}", "{{ a" + repeat(".a", 20000) + " }}",
        "{{ a" + repeat("|e", 20000) + " }}", "{{ 1" + repeat(" if 1 else 1", 9000) + " }}",
        repeat("{% if 1 %}", 9000) + repeat("{% endif %}", 9000),
        "{{ a" + repeat("()", 20000) + " }}", "{{ a" + repeat("[0]", 20000) + " }}",
        "{{ a" + repeat("[:]", 20000) + " }}"}) {
    CHECK_THAT(Error(source), ContainsSubstring("nests too deep"));
  }
  CHECK(RenderText("{{ " + repeat("(", 50) + "1" + repeat(")", 50) + " }}").value() == "1");
  CHECK_THAT(Error(std::string(300000, 'x')), ContainsSubstring("the limit is"));
}

TEST_CASE("Variables that nest too deep are refused", "[jinja]") {
  Json deep = 1;
  for (int i = 0; i < 150; ++i) deep = Json::array({deep});
  CHECK_THAT(Error("{{ x }}", {{"x", deep}}),
             ContainsSubstring("'x' nests deeper than 100 levels"));
  CHECK(RenderText("no use of it", {{"x", deep}}).ok());
}

TEST_CASE("A parsed template renders on several threads' behalf", "[jinja]") {
  const auto chat =
      ChatTemplate::Parse("{% for m in messages %}{{ m.content }}{% endfor %}").value();
  const ChatTemplate copy = chat;
  const Json messages = Json::parse(R"([{"content": "a"}, {"content": "b"}])");
  CHECK(chat.Render(messages, {}).value() == "ab");
  CHECK(copy.Render(messages, {}).value() == "ab");
}

TEST_CASE("Invalid UTF-8 in values passes through and does no harm", "[jinja]") {
  Json variables = Json::object();
  variables["s"] = std::string("a\xFF\xC3z");
  for (const char* source :
       {"{{ s }}", "{{ s|upper }}", "{{ s|title }}", "{{ [s] }}", "{{ s|tojson }}", "{{ s[1] }}",
        "{{ s[::-1] }}", "{{ s|length }}", "{{ s.split('z') }}", "{{ s.strip('z') }}",
        "{{ s|indent }}", "{{ s|wordcount }}"}) {
    CHECK(RenderText(source, variables).ok());
  }
}

}  // namespace
}  // namespace weft
