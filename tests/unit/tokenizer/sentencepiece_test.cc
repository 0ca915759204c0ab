// SentencePiece's kinds of tokenizers, on vocabularies small enough to follow by hand.
#include <ctime>

#include "libs/base/status.h"
#include "libs/gguf/gguf.h"
#include "libs/tokenizer/charsmap.h"
#include "libs/tokenizer/stream_detokenizer.h"
#include "libs/tokenizer/tokenizer.h"
#include "libs/tokenizer/tokenizer_metadata.h"
#include "tests/support/catch.h"

namespace weft {
namespace {

using Ids = std::vector<int32_t>;
using enum TokenKind;

struct Token {
  std::string text;
  double score = 0;
  TokenKind kind = kNormal;
};

TokenizerMetadata Metadata(const std::string& model, const std::vector<Token>& tokens) {
  TokenizerMetadata out;
  out.model = model;
  for (const Token& token : tokens) {
    out.tokens.push_back(token.text);
    out.scores.push_back(token.score);
    out.token_type.push_back(static_cast<int32_t>(token.kind));
  }
  out.add_bos = false;
  out.add_eos = false;
  return out;
}

absl::StatusOr<std::shared_ptr<const Tokenizer>> Load(const TokenizerMetadata& metadata) {
  WEFT_ASSIGN_OR_RETURN(const auto file, GgufFile::FromBytes(metadata.ToGguf()));
  return Tokenizer::FromGguf(*file);
}
std::string Error(const TokenizerMetadata& metadata) {
  return std::string(Message(Load(metadata).status()));
}

// 0 <unk> 1 <s> 2 </s> 3 ▁ 4 a 5 b 6 ab 7 ▁a 8 ba 9 <user> 10 ▁ab, then the bytes.
std::vector<Token> Small(bool with_bytes = true) {
  std::vector<Token> out = {{"<unk>", 0, kUnknown},
                            {"<s>", 0, kControl},
                            {"</s>", 0, kControl},
                            {"▁", -9},
                            {"a", -9},
                            {"b", -9},
                            {"ab", -2},
                            {"▁a", -1},
                            {"ba", -2},
                            {"<user>", 0, kUserDefined},
                            {"▁ab", -3}};
  for (unsigned byte = 0; with_bytes && byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof(name), "<0x%02X>", byte);
    out.push_back({name, 0, kByte});
  }
  return out;
}
constexpr int32_t kByte0 = 11;

TEST_CASE("SentencePiece merges the best score first, of equal ones the leftmost",
          "[sentencepiece]") {
  TokenizerMetadata metadata = Metadata("llama", Small());
  metadata.add_space_prefix = false;
  const auto tokenizer = Load(metadata).value();
  CHECK(tokenizer->Encode("ab") == Ids{6});
  CHECK(tokenizer->Encode("aba") == Ids{6, 4});  // ab and ba score alike
  CHECK(tokenizer->Encode("baba") == Ids{8, 8});
  CHECK(tokenizer->Encode(" ab") == Ids{10});  // ▁a is best, then ▁ab
  CHECK(tokenizer->Encode("▁ab") == Ids{10});  // U+2581 is a space
  CHECK(tokenizer->Encode("  ab") == Ids{3, 10});
  CHECK(tokenizer->Encode("").empty());
}

TEST_CASE("A space goes before the text and after control tokens, not after user-defined ones",
          "[sentencepiece]") {
  const auto tokenizer = Load(Metadata("llama", Small())).value();
  CHECK(tokenizer->Encode("ab") == Ids{10});
  CHECK(tokenizer->Encode(" ab") == Ids{3, 10});
  CHECK(tokenizer->Encode("").empty());
  CHECK(tokenizer->Encode("ab<s>ab", {.parse_special = true}) == Ids{10, 1, 10});
  CHECK(tokenizer->Encode("<s>ab", {.parse_special = true}) == Ids{1, 10});
  CHECK(tokenizer->Encode("ab<user>ab") == Ids{10, 9, 6});
  CHECK(tokenizer->Encode("<user>ab") == Ids{3, 9, 6});
  TokenizerMetadata each = Metadata("llama", Small());
  each.space_prefix = "each";
  CHECK(Load(each).value()->Encode("<user>ab") == Ids{9, 10});
  each.space_prefix = "first_if_missing";
  CHECK(Load(each).value()->Encode(" ab<user>ab") == Ids{10, 9, 6});
  each.space_prefix = "sometimes";
  CHECK_THAT(Error(each), ContainsSubstring("weft.tokenizer.space_prefix 'sometimes'"));
}

TEST_CASE("Control tokens in user text are text for every kind of tokenizer", "[sentencepiece]") {
  for (const std::string model : {"llama", "t5"}) {
    const auto tokenizer = Load(Metadata(model, Small())).value();
    for (const int32_t id : tokenizer->Encode("a<s>b</s><unk><0x41>")) {
      CHECK_FALSE(tokenizer->IsControl(id));
    }
    CHECK(tokenizer->Decode(tokenizer->Encode("a<s>b</s><0x41>")) == "a<s>b</s><0x41>");
    CHECK(tokenizer->Encode("a<s>", {.parse_special = true}).back() == 1);
    const TextRange literal[] = {{2, 3}};
    CHECK(tokenizer->Encode("a<s>", {.parse_special = true, .literal = literal}).back() != 1);
  }
}

TEST_CASE("Characters without a token become bytes, or one unknown token a run",
          "[sentencepiece]") {
  for (const std::string model : {"llama", "t5"}) {
    TokenizerMetadata metadata = Metadata(model, Small());
    metadata.add_space_prefix = false;
    CHECK(Load(metadata).value()->Encode("aé") == Ids{4, kByte0 + 0xC3, kByte0 + 0xA9});
    CHECK(Load(metadata).value()->Encode("a\xFF") == Ids{4, kByte0 + 0xFF});
    metadata = Metadata(model, Small(false));
    metadata.add_space_prefix = false;
    const auto tokenizer = Load(metadata).value();
    CHECK(tokenizer->Encode("aéü\xFF日bé") == Ids{4, 0, 5, 0});
    CHECK(tokenizer->MinTokens(1000) == 0);
  }
}

TEST_CASE("Decoding drops the first space of a text, a continuation keeps it", "[sentencepiece]") {
  const auto tokenizer = Load(Metadata("llama", Small())).value();
  CHECK(tokenizer->Decode(Ids{1, 10, 7}) == "ab a");
  CHECK(tokenizer->Decode(Ids{1, 10, 7}, false) == "<s> ab a");
  CHECK(tokenizer->Decode(Ids{3, 3, 6}) == " ab");
  CHECK(tokenizer->TokenBytes(10) == " ab");
  CHECK(tokenizer->TokenBytes(kByte0 + 0xC3) == "\xC3");
  StreamDetokenizer continues(tokenizer);
  CHECK(continues.Append(10) == " ab");
  StreamDetokenizer begins(tokenizer, true, true);
  CHECK(begins.Append(1).empty());
  CHECK(begins.Append(10) == "ab");
  CHECK(begins.Append(10) == " ab");
}

TEST_CASE("Byte tokens are joined to characters, each broken byte is replaced", "[sentencepiece]") {
  const auto tokenizer = Load(Metadata("llama", Small())).value();
  const std::string r = "\xEF\xBF\xBD";
  StreamDetokenizer stream(tokenizer);
  CHECK(stream.Append(kByte0 + 0xE2).empty());
  CHECK(stream.Append(kByte0 + 0x82).empty());
  CHECK(stream.pending_bytes() == 2);
  CHECK(stream.Append(kByte0 + 0xAC) == "€");
  // SentencePiece: one U+FFFD for each byte, not for each part.
  CHECK(tokenizer->Decode(Ids{kByte0 + 0xE2, kByte0 + 0x82, 4}) == r + r + "a");
  CHECK(tokenizer->Decode(Ids{kByte0 + 0xE2, kByte0 + 0x82}) == r + r);
}

TEST_CASE("An unused token is taken apart again", "[sentencepiece]") {
  std::vector<Token> tokens = Small();
  tokens[6].kind = kUnused;  // ab
  TokenizerMetadata metadata = Metadata("llama", tokens);
  metadata.add_space_prefix = false;
  CHECK(Load(metadata).value()->Encode("abb") == Ids{4, 5, 5});
}

TEST_CASE("Merges by rank decide where a file gives them", "[sentencepiece]") {
  TokenizerMetadata metadata = Metadata("llama", Small());
  metadata.add_space_prefix = false;
  metadata.merges_by_rank = true;
  metadata.merges = {"b a", "a b"};
  CHECK(Load(metadata).value()->Encode("aba") == Ids{4, 8});
  CHECK(Load(metadata).value()->Encode(" ab") == Ids{3, 6});  // ▁a has no merge here
  metadata.merges = {"b c"};
  CHECK_THAT(Error(metadata), ContainsSubstring("tokenizer.ggml.merges[0]: its right part"));
}

TEST_CASE("Unigram takes the split with the best sum", "[sentencepiece]") {
  TokenizerMetadata metadata = Metadata("t5", {{"<unk>", 0, kUnknown},
                                               {"a", -3},
                                               {"b", -3},
                                               {"ab", -5},
                                               {"abb", -8},
                                               {"bb", -4},
                                               {"▁", -2}});
  metadata.add_space_prefix = false;
  const auto tokenizer = Load(metadata).value();
  CHECK(tokenizer->Encode("ab") == Ids{3});
  CHECK(tokenizer->Encode("abb") == Ids{1, 5});  // -7 beats -8
  CHECK(tokenizer->Encode("aé b") == Ids{1, 0, 6, 2});
  metadata.add_space_prefix = true;
  metadata.remove_extra_whitespaces = true;
  CHECK(Load(metadata).value()->Encode("  a   b ") == Ids{6, 1, 6, 2});
  CHECK(Load(metadata).value()->Encode("   ").empty());
}

// Expected: sentencepiece 0.2.3 with the same pieces.
TEST_CASE("Of nearly equal splits the one wins whose sum SentencePiece rounds up",
          "[sentencepiece]") {
  TokenizerMetadata metadata = Metadata("t5", {{"<unk>", 0, kUnknown},
                                               {"<user>", 0, kUserDefined},
                                               {"a", -5.9},
                                               {"aa", -3},
                                               {"<s>", 0, kControl}});
  metadata.add_space_prefix = false;
  const auto tokenizer = Load(metadata).value();
  CHECK(tokenizer->Encode("aaa") == Ids{2, 3});
  // The sum goes on after a user-defined token, and begins anew after a control token.
  CHECK(tokenizer->Encode("a<user>aaa") == Ids{2, 1, 3, 2});
  CHECK(tokenizer->Encode("aa<user>aaa") == Ids{3, 1, 2, 3});
  CHECK(tokenizer->Encode("a<user>a<s>aaa", {.parse_special = true}) == Ids{2, 1, 2, 4, 2, 3});
}

TEST_CASE("A long text is split as well at its end as at its beginning", "[sentencepiece]") {
  TokenizerMetadata metadata = Metadata("t5", {{"<unk>", 0, kUnknown},
                                               {"<user>", 0, kUserDefined},
                                               {"a", -2.6},
                                               {"aa", -5.3},
                                               {"b", -97.3}});
  metadata.add_space_prefix = false;
  const auto tokenizer = Load(metadata).value();
  const std::string before(100'000, 'b');
  for (const std::string& text : {before + "aa", before + "<user>aa", "<user>" + before + "aa"}) {
    const Ids ids = tokenizer->Encode(text);
    CHECK(Ids(ids.end() - 2, ids.end()) == Ids{2, 2});
  }
}

TEST_CASE("Metadata of SentencePiece that contradicts itself is refused and named",
          "[sentencepiece]") {
  TokenizerMetadata scores = Metadata("llama", Small());
  scores.scores.pop_back();
  CHECK_THAT(Error(scores), ContainsSubstring("tokenizer.ggml.scores has 266 entries"));
  scores.scores.clear();
  CHECK_THAT(Error(scores), ContainsSubstring("tokenizer.ggml.scores is missing"));
  TokenizerMetadata nan = Metadata("llama", Small());
  nan.scores[4] = std::numeric_limits<double>::quiet_NaN();
  CHECK_THAT(Error(nan), ContainsSubstring("tokenizer.ggml.scores[4]"));
  TokenizerMetadata byte = Metadata("llama", Small());
  byte.tokens[kByte0] = "zero";
  CHECK_THAT(Error(byte), ContainsSubstring("tokenizer.ggml.tokens[11] is a byte"));
  TokenizerMetadata charsmap = Metadata("t5", Small());
  charsmap.precompiled_charsmap = "abc";
  CHECK_THAT(Error(charsmap), ContainsSubstring("precompiled_charsmap has 3 bytes"));
  charsmap.precompiled_charsmap = std::string("\x08\0\0\0abcd", 8);
  CHECK_THAT(Error(charsmap), ContainsSubstring("its trie has 8 of 4 bytes"));
  TokenizerMetadata steps = Metadata("llama", Small());
  steps.normalizer = {"nfc", "martian"};
  CHECK_THAT(Error(steps), ContainsSubstring("weft.tokenizer.normalizer[1] 'martian'"));
  TokenizerMetadata ids = Metadata("llama", Small());
  ids.end_ids = {5, 999};
  CHECK_THAT(Error(ids), ContainsSubstring("weft.tokenizer.end_ids[1] is 999"));
  TokenizerMetadata longs = Metadata("llama", Small());
  for (int i = 0; i < 3; ++i) {
    longs.tokens.push_back(std::string(1025, static_cast<char>('c' + i)));
    longs.scores.push_back(-1);
    longs.token_type.push_back(1);
  }
  CHECK_THAT(Error(longs), ContainsSubstring("tokenizer.ggml.tokens[267] has 1025 bytes"));
}

TEST_CASE("Control tokens swallow white space where the model says so", "[sentencepiece]") {
  TokenizerMetadata metadata = Metadata("llama", Small());
  metadata.strip_right = {1};
  metadata.strip_left = {2};
  const auto tokenizer = Load(metadata).value();
  CHECK(tokenizer->Encode("<s>\n ab \t</s> ab", {.parse_special = true}) == Ids{1, 10, 2, 3, 10});
}

TEST_CASE("Normalizer steps run in order", "[sentencepiece]") {
  TokenizerMetadata metadata = Metadata("llama", Small());
  metadata.normalizer = {"lowercase", "strip_left", "strip_right",
                         "replace\x1fx\x1f"
                         "ab",
                         "prepend\x1f"
                         "b"};
  metadata.add_space_prefix = false;
  CHECK(Load(metadata).value()->Encode("  AX\n") == Ids{8, 6});  // baab
}

TEST_CASE("Long runs take near-linear time in SentencePiece's kinds too", "[sentencepiece]") {
  for (const std::string model : {"llama", "t5"}) {
    const auto tokenizer = Load(Metadata(model, Small())).value();
    for (const std::string unit : {"a", " ", "ab", "é", "\xFF", "a ", "c"}) {
      std::string text;
      while (text.size() < 1'000'000) text += unit;
      const auto begin = std::clock();
      const Ids ids = tokenizer->Encode(text);
      const double took = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
      INFO("1 MB of " << unit << " took " << took << " s with " << model);
      CHECK(took < 3.0);  // an unloaded machine: 0.2 s; quadratic: minutes
      CHECK(ids.size() >= tokenizer->MinTokens(text.size()));
    }
  }
}

}  // namespace
}  // namespace weft
