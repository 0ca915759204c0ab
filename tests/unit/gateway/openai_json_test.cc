#include "services/gateway/openai_json.h"

#include <nlohmann/json.hpp>

#include "libs/scan/policy.h"
#include "tests/support/catch.h"

using nlohmann::json;
using weft::gateway::AnswerFacts;

namespace {
AnswerFacts Facts(bool chat) {
  AnswerFacts facts;
  facts.chat = chat;
  facts.id = weft::gateway::NewAnswerId(chat);
  facts.created = 5;
  facts.model = "a \"model\"";
  facts.model_version = "abc";
  return facts;
}
}  // namespace

TEST_CASE("Chat chunks have OpenAI's shape", "[gateway]") {
  AnswerFacts facts = Facts(true);
  const json role = json::parse(weft::gateway::RoleChunk(facts, 1));
  CHECK(role["object"] == "chat.completion.chunk");
  CHECK(role["model"] == "a \"model\"");
  CHECK(role["choices"][0]["delta"]["role"] == "assistant");
  CHECK(role["choices"][0]["index"] == 1);
  CHECK_FALSE(role.contains("usage"));
  facts.include_usage = true;
  const json text = json::parse(weft::gateway::TextChunk(facts, 0, "q\"\n\u00e4", {}, false, 0));
  CHECK(text["choices"][0]["delta"] == json{{"content", "q\"\n\u00e4"}});
  CHECK(text["choices"][0]["finish_reason"].is_null());
  CHECK(text["usage"].is_null());
  weft::gateway::ChoiceEnd end;
  end.reason = weft::v1::FINISH_REASON_LENGTH;
  const json finish = json::parse(weft::gateway::FinishChunk(facts, end));
  CHECK(finish["choices"][0]["delta"] == json::object());
  CHECK(finish["choices"][0]["finish_reason"] == "length");
  weft::v1::Usage usage;
  usage.set_prompt_tokens(3);
  usage.set_completion_tokens(4);
  const json last = json::parse(weft::gateway::UsageChunk(facts, usage));
  CHECK(last["choices"] == json::array());
  CHECK(last["usage"]["total_tokens"] == 7);
}

TEST_CASE("Log probabilities keep the bytes of half a character", "[gateway]") {
  weft::v1::TokenLogprob entry;
  entry.set_logprob(-std::numeric_limits<float>::infinity());
  entry.set_text("\xe2\x82");
  entry.add_top_logprobs(-0.25F);
  entry.add_top_texts("x");
  const std::vector<weft::v1::TokenLogprob> entries = {entry};
  const json chat = json::parse(weft::gateway::TextChunk(Facts(true), 0, "", entries, true, 0));
  const json& token = chat["choices"][0]["logprobs"]["content"][0];
  CHECK(token["bytes"] == json{0xe2, 0x82});
  CHECK(token["logprob"] == -9999.0);
  CHECK(token["top_logprobs"][0]["token"] == "x");
  const json old = json::parse(weft::gateway::TextChunk(Facts(false), 0, "", entries, true, 12));
  CHECK(old["object"] == "text_completion");
  CHECK(old["choices"][0]["logprobs"]["text_offset"] == json{12});
  const json& tops = old["choices"][0]["logprobs"]["top_logprobs"][0];
  CHECK(tops["x"] == -0.25);
  CHECK(tops[R"(bytes:\xe2\x82)"] == -9999.0);  // the chosen token is always told
  CHECK(old["choices"][0]["logprobs"]["tokens"] == json{R"(bytes:\xe2\x82)"});
}

TEST_CASE("Half characters are told apart, and offsets count characters", "[gateway]") {
  std::vector<weft::v1::TokenLogprob> entries(3);
  entries[0].set_text("h\xc3\xa9");
  entries[1].set_text("\xe2\x82");
  entries[1].add_top_texts("\xe2\x82");
  entries[1].add_top_logprobs(0);
  entries[1].add_top_texts("\xe2\x83");
  entries[1].add_top_logprobs(-1);
  entries[2].set_text("\xac");
  const std::string text = weft::gateway::TextChunk(Facts(false), 0, "", entries, true, 4);
  const json logprobs = json::parse(text)["choices"][0]["logprobs"];
  CHECK(logprobs["text_offset"] == json{4, 6, 7});
  CHECK(logprobs["top_logprobs"][1].size() == 2);
  CHECK(weft::scan::CountCharacters("h\xc3\xa9\xe2\x82\xac") == 3);
}

TEST_CASE("A blocked answer names rule and line and not the text", "[gateway]") {
  weft::scan::Finding finding;
  finding.rule = "python.os-system";
  finding.type = "shell_injection";
  finding.line = 4;
  finding.match = "the secret text";
  weft::gateway::ChoiceEnd end;
  end.reason = weft::v1::FINISH_REASON_CONTENT_FILTER;
  end.blocked_by = &finding;
  const json chunk = json::parse(weft::gateway::FinishChunk(Facts(true), end));
  CHECK(chunk["choices"][0]["finish_reason"] == "content_filter");
  CHECK(chunk["weft"]["content_filter"]["rule"] == "python.os-system");
  CHECK(chunk["weft"]["content_filter"]["line"] == 4);
  CHECK(chunk.dump().find("the secret text") == std::string::npos);
}
