#include "services/scheduler/text_assembler.h"

#include <numeric>

#include "tests/support/catch.h"
#include "tests/unit/scheduler/fakes.h"

using weft::scheduler::TextAssembler;
using weft::scheduler::TextDelta;
using weft::scheduler::testing::FakeText;
namespace v1 = weft::v1;

namespace {

struct Run {
  std::string text;
  std::vector<uint32_t> tokens;
  std::vector<std::string> deltas;
  std::string stop;
  size_t logprobs = 0;
};

// Feeds tokens 0, 1, … of `pieces`, taking after each.
Run Assemble(const std::vector<std::string>& pieces, std::vector<std::string> stops) {
  const FakeText text(pieces);
  TextAssembler assembler(text.NewDetokenizer(), std::move(stops));
  Run run;
  const auto take = [&] {
    TextDelta delta;
    assembler.Take(&delta);
    REQUIRE(delta.byte_offset == run.text.size());
    if (!delta.tokens.empty()) REQUIRE(delta.first_index == run.tokens.size());
    run.text += delta.text;
    run.tokens.insert(run.tokens.end(), delta.tokens.begin(), delta.tokens.end());
    run.logprobs += delta.logprobs.size();
    run.deltas.push_back(delta.text);
  };
  for (uint32_t i = 0; i < pieces.size() && !assembler.stopped(); ++i) {
    v1::TokenLogprob logprob;
    assembler.Append(i, &logprob);
    take();
  }
  assembler.Finish();
  take();
  run.stop = std::string(assembler.stop_string());
  REQUIRE(run.tokens.size() == assembler.tokens_taken());
  REQUIRE(run.logprobs == run.tokens.size());
  return run;
}

}  // namespace

TEST_CASE("TextAssembler shows text at once when nothing can begin a stop string", "[scheduler]") {
  const Run run = Assemble({"def", " f", "():"}, {});
  CHECK(run.deltas == std::vector<std::string>{"def", " f", "():", ""});
  CHECK(run.tokens == std::vector<uint32_t>{0, 1, 2});
}

TEST_CASE("TextAssembler ends the text before a stop string that lies across tokens",
          "[scheduler]") {
  const Run run = Assemble({"a", "EN", "D", "b"}, {"END"});
  CHECK(run.text == "a");
  CHECK(run.tokens == std::vector<uint32_t>{0});  // the stop's tokens are not billed
  CHECK(run.stop == "END");
}

TEST_CASE("TextAssembler bills a token that is shown in part", "[scheduler]") {
  const Run run = Assemble({"a", "bEN", "Dc"}, {"END"});
  CHECK(run.text == "ab");
  CHECK(run.tokens == std::vector<uint32_t>{0, 1});
}

TEST_CASE("TextAssembler releases what was held back when it is no stop string", "[scheduler]") {
  const Run run = Assemble({"xEN", "E", "ND?"}, {"END!"});
  CHECK(run.text == "xENEND?");
  CHECK(run.deltas == std::vector<std::string>{"", "xEN", "END?", ""});
  CHECK(run.tokens == std::vector<uint32_t>{0, 1, 2});
  CHECK(run.stop.empty());
}

TEST_CASE("TextAssembler shows a held back ending when the sequence ends", "[scheduler]") {
  const Run run = Assemble({"xE", "N"}, {"END"});
  CHECK(run.text == "xEN");
  CHECK(run.deltas == std::vector<std::string>{"", "", "xEN"});
}

TEST_CASE("TextAssembler finds a stop string that overlaps its own beginning", "[scheduler]") {
  CHECK(Assemble({"a", "a", "b", "a", "a", "b", "a", "a", "c", "z"}, {"aabaac"}).text == "aab");
  CHECK(Assemble({"\n", "\n", "\n"}, {"\n\n"}).text.empty());
}

TEST_CASE("TextAssembler's text does not depend on how tokens cut it", "[scheduler]") {
  const std::string text = "one END\xE2\x82\xAC two \xF0\x9F\x98\x80 STOP three E";
  const std::vector<std::vector<std::string>> stop_sets = {{},
                                                           {"END"},
                                                           {"STOP", "P t"},
                                                           {"ND\xE2\x82\xAC t", "zzz"},
                                                           {"\xF0\x9F\x98\x80"},
                                                           {"three EX"},
                                                           {"E", "END"},
                                                           {"o \xF0\x9F\x98\x80 S", "two"}};
  for (const auto& stops : stop_sets) {
    const Run whole = Assemble({text}, stops);
    for (size_t step = 1; step <= 9; ++step) {
      std::vector<std::string> pieces;
      for (size_t at = 0; at < text.size(); at += step) pieces.push_back(text.substr(at, step));
      const Run run = Assemble(pieces, stops);
      CHECK(run.text == whole.text);
      CHECK(run.stop == whole.stop);
      for (const std::string& delta : run.deltas) {  // never begins inside a character
        if (!delta.empty()) CHECK((static_cast<uint8_t>(delta[0]) & 0xC0) != 0x80);
      }
    }
  }
}

TEST_CASE("TextAssembler turns an unfinished character into U+FFFD at the end", "[scheduler]") {
  CHECK(Assemble({"a\xE2", "\x82"}, {}).text == "a\xEF\xBF\xBD");
}

TEST_CASE("TextAssembler gives an end-of-sequence token without text", "[scheduler]") {
  const FakeText text({"a", "<eos>"});
  TextAssembler assembler(text.NewDetokenizer(), {"a<"});
  assembler.Append(0, nullptr);
  assembler.AppendSilent(1, nullptr);
  assembler.Finish();
  TextDelta delta;
  assembler.Take(&delta);
  CHECK(delta.text == "a");
  CHECK(delta.tokens == std::vector<uint32_t>{0, 1});
}

TEST_CASE("TextAssembler continues a text that another scheduler delivered in part",
          "[scheduler]") {
  const std::vector<std::string> pieces = {"one ", "two E", "N", "O", " three"};
  const FakeText text(pieces);
  TextAssembler assembler(text.NewDetokenizer(), {"END"});
  REQUIRE(assembler.Restore(std::vector<uint32_t>{0}, 4).ok());
  for (uint32_t i = 1; i < 5; ++i) assembler.Append(i, nullptr);
  assembler.Finish();
  TextDelta delta;
  assembler.Take(&delta);
  CHECK(delta.text == "two ENO three");
  CHECK(delta.byte_offset == 4);
  CHECK(delta.first_index == 1);
  CHECK(assembler.tokens_taken() == 5);

  TextAssembler impossible(text.NewDetokenizer(), {});
  CHECK_FALSE(impossible.Restore(std::vector<uint32_t>{0}, 5).ok());
}

TEST_CASE("TextAssembler's every delta leaves a state that another scheduler can continue",
          "[scheduler]") {
  const std::vector<std::string> pieces = {"a <",    "en",  "x", " \xE2\x82",
                                           "\xAC<e", "n <", "e", "nd>z"};
  const std::vector<std::string> stops = {"<end>"};
  const FakeText text(pieces);
  const Run whole = Assemble(pieces, stops);
  for (uint32_t cut = 0; cut < pieces.size(); ++cut) {
    TextAssembler first(text.NewDetokenizer(), stops);
    TextDelta delivered;
    for (uint32_t i = 0; i < cut; ++i) {
      first.Append(i, nullptr);
      first.Take(&delivered);
    }
    TextAssembler second(text.NewDetokenizer(), stops);
    REQUIRE(second.Restore(delivered.tokens, delivered.text.size()).ok());
    TextDelta rest;
    for (auto i = static_cast<uint32_t>(delivered.tokens.size()); i < pieces.size(); ++i) {
      second.Append(i, nullptr);
    }
    second.Finish();
    second.Take(&rest);
    CHECK(rest.byte_offset == delivered.text.size());
    CHECK(delivered.text + rest.text == whole.text);
    CHECK(second.tokens_taken() == whole.tokens.size());
    CHECK(second.stop_string() == whole.stop);
  }
}
