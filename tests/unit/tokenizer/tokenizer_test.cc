#include "libs/tokenizer/tokenizer.h"

#include <ctime>
#include <optional>

#include "libs/base/status.h"
#include "libs/gguf/gguf.h"
#include "libs/gguf/gguf_writer.h"
#include "libs/tokenizer/stream_detokenizer.h"
#include "tests/support/catch.h"
#include "tests/unit/tokenizer/model.h"

namespace weft {
namespace {

struct Metadata {
  std::string model = "gpt2";
  std::string pre = "gpt-2";
  std::vector<std::string> tokens = {"a",       "b",        "ab",     "abab",
                                     "<|end|>", "<|user|>", "\u0120", "\u00ff"};
  std::vector<int32_t> types = {1, 1, 1, 1, 3, 4, 1, 1};
  std::vector<std::string> merges = {"a b", "ab ab"};
  uint32_t eos = 4;
  std::optional<bool> add_bos;

  absl::StatusOr<std::shared_ptr<const Tokenizer>> Load() const {
    GgufWriter writer;
    writer.AddString("tokenizer.ggml.model", model);
    writer.AddString("tokenizer.ggml.pre", pre);
    writer.AddStringArray("tokenizer.ggml.tokens", tokens);
    writer.AddInt32Array("tokenizer.ggml.token_type", types);
    writer.AddStringArray("tokenizer.ggml.merges", merges);
    writer.AddUint32("tokenizer.ggml.eos_token_id", eos);
    writer.AddUint32("tokenizer.ggml.bos_token_id", 5);
    if (add_bos) writer.AddBool("tokenizer.ggml.add_bos_token", *add_bos);
    WEFT_ASSIGN_OR_RETURN(const auto file, GgufFile::FromBytes(writer.Finish()));
    return Tokenizer::FromGguf(*file);
  }
  std::string Error() const { return std::string(Message(Load().status())); }
};

using Ids = std::vector<int32_t>;

TEST_CASE("Merges apply in order of rank, leftmost first", "[tokenizer]") {
  const auto tokenizer = Metadata{}.Load().value();
  CHECK(tokenizer->Encode("ab") == Ids{2});
  CHECK(tokenizer->Encode("abab") == Ids{3});
  CHECK(tokenizer->Encode("ababab") == Ids{3, 2});
  CHECK(tokenizer->Encode("ba") == Ids{1, 0});
  CHECK(tokenizer->Encode("") == Ids{});
  CHECK(tokenizer->Encode("a b") == Ids{0, 6, 1});
}

TEST_CASE("A control token with a literal byte is text, a user-defined one is found all the same",
          "[tokenizer]") {
  const auto tokenizer = Metadata{}.Load().value();
  const std::string text = "a<|end|><|user|>b";  // the control token is at 1 to 8
  const auto encode = [&](std::vector<TextRange> literal) {
    return tokenizer->Encode(text, {.parse_special = true, .literal = literal});
  };
  const Ids found = {0, 4, 5, 1};
  const Ids text_only = {0, 5, 1};  // the vocabulary has no bytes of it
  CHECK(encode({}) == found);
  CHECK(encode({{0, 1}}) == found);
  CHECK(encode({{0, 1}, {8, 17}}) == found);
  CHECK(encode({{0, 2}}) == text_only);
  CHECK(encode({{7, 8}}) == text_only);
  CHECK(encode({{4, 5}}) == text_only);
  CHECK(encode({{0, 17}}) == text_only);
  CHECK(encode({{10, 12}}) == found);
}

TEST_CASE("Control tokens are found only when asked for, user-defined ones always", "[tokenizer]") {
  const auto tokenizer = Metadata{}.Load().value();
  CHECK(tokenizer->Encode("a<|end|>b", {.parse_special = true}) == Ids{0, 4, 1});
  CHECK(tokenizer->Encode("a<|end|>b", {.parse_special = false}) == Ids{0, 1});
  CHECK(tokenizer->Encode("a<|user|>b", {.parse_special = false}) == Ids{0, 5, 1});
  CHECK(tokenizer->IsControl(4));
  CHECK_FALSE(tokenizer->IsControl(5));
  CHECK_FALSE(tokenizer->IsControl(-1));
  CHECK_FALSE(tokenizer->IsControl(8));
  CHECK(tokenizer->end_of_generation_ids() == Ids{4});
  CHECK(tokenizer->FindToken("<|end|>") == 4);
  CHECK(tokenizer->FindToken("nothing") == -1);
  CHECK(tokenizer->Decode(Ids{0, 4, 1}) == "ab");
  CHECK(tokenizer->Decode(Ids{0, 4, 1}, false) == "a<|end|>b");
  CHECK(tokenizer->TokenBytes(4) == "<|end|>");
  CHECK(tokenizer->TokenBytes(6) == " ");
  CHECK(tokenizer->TokenBytes(7) == "\xff");
  CHECK(tokenizer->TokenBytes(99).empty());
}

TEST_CASE("The begin token is added where the model asks for it", "[tokenizer]") {
  Metadata metadata;
  CHECK(metadata.Load().value()->Encode("a") == Ids{0});
  metadata.add_bos = true;
  CHECK(metadata.Load().value()->Encode("a") == Ids{5, 0});
  CHECK(metadata.Load().value()->Encode("a", {.add_special = false}) == Ids{0});
  metadata.add_bos.reset();
  metadata.pre = "llama-bpe";
  CHECK(metadata.Load().value()->Encode("a") == Ids{5, 0});
}

TEST_CASE("Qwen 2 normalizes text before it is split, the others do not", "[tokenizer]") {
  Metadata metadata;
  metadata.tokens = {"e", "\u00c3", "\u00a9", "\u00cc", "\u0123", "<|end|>"};
  metadata.types = {1, 1, 1, 1, 1, 3};
  metadata.merges.clear();
  metadata.eos = 5;
  CHECK(metadata.Load().value()->Encode("e\u0301") == Ids{0, 3, 4});
  metadata.pre = "qwen2";
  CHECK(metadata.Load().value()->Encode("e\u0301") == Ids{1, 2});
}

TEST_CASE("Metadata that contradicts itself is refused and named", "[tokenizer]") {
  Metadata model;
  model.model = "bert";
  CHECK_THAT(model.Error(), ContainsSubstring("tokenizer.ggml.model 'bert' is not supported"));
  Metadata pre;
  pre.pre = "martian";
  CHECK_THAT(pre.Error(), ContainsSubstring("tokenizer.ggml.pre 'martian' is not supported") &&
                              ContainsSubstring("smollm"));
  Metadata types;
  types.types.pop_back();
  CHECK_THAT(types.Error(), ContainsSubstring("tokenizer.ggml.token_type has 7 entries"));
  Metadata eos;
  eos.eos = 8;
  CHECK_THAT(eos.Error(), ContainsSubstring("tokenizer.ggml.eos_token_id is 8"));
  Metadata merges;
  merges.merges = {"a b", "a c"};
  CHECK_THAT(merges.Error(), ContainsSubstring("tokenizer.ggml.merges[1]: its right part"));
  merges.merges = {"b a"};
  CHECK_THAT(merges.Error(), ContainsSubstring("tokenizer.ggml.merges[0]: its result"));
  merges.merges = {"ab"};
  CHECK_THAT(merges.Error(), ContainsSubstring("merges[0] is not two tokens"));
  Metadata empty;
  empty.tokens.clear();
  empty.types.clear();
  CHECK_THAT(empty.Error(), ContainsSubstring("tokenizer.ggml.tokens has 0 entries"));
  GgufWriter writer;
  CHECK_THAT(std::string(Message(
                 Tokenizer::FromGguf(*GgufFile::FromBytes(writer.Finish()).value()).status())),
             ContainsSubstring("'tokenizer.ggml.model' is missing"));
}

TEST_CASE("The metadata that a worker ships gives the same tokenizer", "[tokenizer][model]") {
  const auto file = GgufFile::Open(ModelPath()).value();
  const auto shipped = GgufFile::FromBytes(SerializeMetadata(*file)).value();
  const auto tokenizer = Tokenizer::FromGguf(*shipped).value();
  CHECK(tokenizer->vocab_size() == 49152);
  CHECK(tokenizer->bos() == 1);
  CHECK(tokenizer->eos() == 2);
  CHECK_FALSE(tokenizer->adds_bos());
  CHECK(tokenizer->end_of_generation_ids() == Ids{0, 2});
  CHECK(tokenizer->IsEndOfGeneration(2));
  CHECK_FALSE(tokenizer->IsEndOfGeneration(1));
  CHECK_THAT(tokenizer->chat_template(), ContainsSubstring("<|im_start|>"));
  CHECK(tokenizer->Encode("Hello world") == LoadModelTokenizer()->Encode("Hello world"));
  CHECK(MetadataSha256(*shipped) == MetadataSha256(*file));
}

TEST_CASE("Long runs take near-linear time", "[tokenizer][model]") {
  const auto tokenizer = LoadModelTokenizer();
  for (const std::string unit : {"a", " ", "=", "\n", "\xF0\x9F\x98\x80", "ab", "\xFF", "'"}) {
    std::string text;
    while (text.size() < 1'000'000) text += unit;
    const auto begin = std::clock();
    const Ids ids = tokenizer->Encode(text);
    const double took = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;  // of CPU
    INFO("1 MB of " << unit << " took " << took << " s");
    CHECK(took < 3.0);  // an unloaded machine: 0.2 s; quadratic: minutes
    CHECK((unit == "\xFF" || ids.size() >= tokenizer->MinTokens(text.size())));
  }
}

TEST_CASE("Bytes that are not UTF-8 encode without harm", "[tokenizer][model]") {
  const auto tokenizer = LoadModelTokenizer();
  for (const std::string text : {"\x80", "a\xC3", "\xED\xA0\x80 b", "\xF0\x9F\x98", "\xFF\xFE x",
                                 "\xC3\xA9\xC3", "1\xE2\x82 2"}) {
    const Ids ids = tokenizer->Encode(text, {.parse_special = true});
    for (const int32_t id : ids) CHECK(tokenizer->IsValid(id));
    CHECK(IsValidUtf8(tokenizer->Decode(ids)));
  }
}

TEST_CASE("A stream never splits a character and repairs invalid bytes like Python",
          "[tokenizer]") {
  struct Case {
    std::string bytes;
    std::string text;
  };
  // Python: bytes.decode(errors="replace").
  const std::string r = "\xEF\xBF\xBD";
  const Case cases[] = {
      {"h\xC3\xA9llo", "h\xC3\xA9llo"},
      {"\xF0\x9F\x98\x80", "\xF0\x9F\x98\x80"},
      {"\xF0\x9F\x98", r},
      {"\xF0\x9F\x98z", r + "z"},
      {"\x80\x80", r + r},
      {"\xC3\xC3\xA9", r + "\xC3\xA9"},
      {"\xE0\x80\x80", r + r + r},
      {"\xED\xA0\x80", r + r + r},
      {"\xF4\x90\x80\x80", r + r + r + r},
      {"\xE2\x82\xF0\x9F\x98\x80", r + "\xF0\x9F\x98\x80"},
      {"\xF8\x88\x80\x80\x80", r + r + r + r + r},
  };
  for (const Case& c : cases) {
    for (size_t cut = 0; cut <= c.bytes.size(); ++cut) {
      Utf8Decoder decoder;
      std::string out;
      decoder.Append(std::string_view(c.bytes).substr(0, cut), out);
      CHECK(IsValidUtf8(out));
      CHECK(decoder.pending() < 4);
      decoder.Append(std::string_view(c.bytes).substr(cut), out);
      decoder.Flush(out);
      CHECK(out == c.text);
    }
  }
}

TEST_CASE("A stream shows a character when its last token arrives", "[tokenizer][model]") {
  const auto tokenizer = LoadModelTokenizer();
  const Ids ids = tokenizer->Encode("\xF0\x9F\xA6\x99");
  REQUIRE(ids.size() > 1);
  StreamDetokenizer stream(tokenizer);
  for (size_t i = 0; i + 1 < ids.size(); ++i) CHECK(stream.Append(ids[i]).empty());
  CHECK(stream.pending_bytes() > 0);
  CHECK(stream.Append(2).empty());  // <|im_end|> is no text
  CHECK(stream.Append(-5).empty());
  CHECK(stream.Append(ids.back()) == "\xF0\x9F\xA6\x99");
  CHECK(stream.Flush().empty());
  CHECK(stream.Append(ids.front()).empty());
  CHECK(stream.Flush() == "\xEF\xBF\xBD");
  CHECK(stream.Flush().empty());
}

}  // namespace
}  // namespace weft
