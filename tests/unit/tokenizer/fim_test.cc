#include "libs/tokenizer/fim.h"

#include <random>

#include "libs/base/status.h"
#include "libs/gguf/gguf.h"
#include "libs/gguf/gguf_writer.h"
#include "libs/tokenizer/tokenizer.h"
#include "tests/support/catch.h"

namespace weft {
namespace {

using Ids = std::vector<int32_t>;

// A vocabulary of single bytes and the control tokens that are asked for.
struct TinyModel {
  std::shared_ptr<const GgufFile> metadata;
  std::shared_ptr<const Tokenizer> tokenizer;
  FimFormat format;

  explicit TinyModel(const std::vector<std::string>& controls,
                     const std::vector<std::pair<std::string, uint32_t>>& keys = {},
                     bool add_bos = false) {
    std::vector<std::string> tokens = {"<s>"};
    std::vector<int32_t> types = {3};
    for (char c = '!'; c <= '~'; ++c) {
      tokens.emplace_back(1, c);
      types.push_back(1);
    }
    tokens.emplace_back("\u0120");  // a space
    tokens.emplace_back("\u010A");  // a newline
    types.insert(types.end(), {1, 1});
    for (const std::string& control : controls) {
      tokens.push_back(control);
      types.push_back(3);
    }
    GgufWriter writer;
    writer.AddString("tokenizer.ggml.model", "gpt2");
    writer.AddString("tokenizer.ggml.pre", "gpt-2");
    writer.AddStringArray("tokenizer.ggml.tokens", tokens);
    writer.AddInt32Array("tokenizer.ggml.token_type", types);
    writer.AddStringArray("tokenizer.ggml.merges", {});
    writer.AddUint32("tokenizer.ggml.bos_token_id", 0);
    writer.AddUint32("tokenizer.ggml.eos_token_id", 0);
    writer.AddBool("tokenizer.ggml.add_bos_token", add_bos);
    for (const auto& [key, id] : keys) writer.AddUint32("tokenizer.ggml." + key, id);
    metadata = GgufFile::FromBytes(writer.Finish()).value();
    tokenizer = Tokenizer::FromGguf(*metadata).value();
    format = FimFormat::Find(*metadata, *tokenizer);
  }
  int32_t Id(std::string_view token) const { return tokenizer->FindToken(token); }
  std::string Prompt(const FimInput& input, size_t budget = 10'000) const {
    const auto prompt = BuildFimPrompt(*tokenizer, format, input, budget);
    return prompt.ok() ? tokenizer->Decode(prompt->ids, false) : ToString(prompt.status());
  }
};

const FimInput kSimple = {.prefix = "def f(",
                          .suffix = "return 1\n",
                          .middle = {},
                          .extra = {},
                          .filename = {},
                          .repository = {}};
FimInput WithFiles() {
  FimInput input = kSimple;
  input.extra = {{"a.py", "A = 1"}, {"b.py", "B = 2\n"}};
  input.filename = "c.py";
  input.repository = "shop";
  return input;
}

// Meta's and Mistral's own code encodes a suffix behind a mark, whose tokens it takes away again.
TEST_CASE("A suffix of SentencePiece's kinds has no space of its own", "[fim]") {
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>", "▁<PRE>", "▁<SUF>", "▁<MID>", "▁"};
  std::vector<int32_t> types = {2, 3, 3, 3, 3, 3, 1};
  for (const char* text : {"a", "b", "▁a", "▁b", "\n"}) {
    tokens.emplace_back(text);
    types.push_back(1);
  }
  std::vector<float> scores(tokens.size(), -1.0f);
  GgufWriter writer;
  writer.AddString("tokenizer.ggml.model", "llama");
  writer.AddStringArray("tokenizer.ggml.tokens", tokens);
  writer.AddInt32Array("tokenizer.ggml.token_type", types);
  writer.AddFloat32Array("tokenizer.ggml.scores", scores);
  writer.AddUint32("tokenizer.ggml.bos_token_id", 1);
  writer.AddUint32("tokenizer.ggml.eos_token_id", 2);
  const auto metadata = GgufFile::FromBytes(writer.Finish()).value();
  const auto tokenizer = Tokenizer::FromGguf(*metadata).value();
  const FimFormat format = FimFormat::Find(*metadata, *tokenizer);
  REQUIRE(format.ok());
  const auto ids = [&](std::string_view prefix, std::string_view suffix, std::string_view middle) {
    FimInput input;
    input.prefix = prefix;
    input.suffix = suffix;
    input.middle = middle;
    return BuildFimPrompt(*tokenizer, format, input, 100).value().ids;
  };
  CHECK(ids("a", "b", "") == Ids{1, 3, 9, 4, 8, 5});
  CHECK(ids("a", " b", "") == Ids{1, 3, 9, 4, 10, 5});
  CHECK(ids("a", "\nb", "a") == Ids{1, 3, 9, 4, 11, 8, 5, 7});
}

TEST_CASE("Each family's prompt is in its own format", "[fim]") {
  const TinyModel starcoder2(
      {"<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<fim_pad>", "<repo_name>", "<file_sep>"});
  CHECK(starcoder2.Prompt(kSimple) == "<fim_prefix>def f(<fim_suffix>return 1\n<fim_middle>");
  CHECK(starcoder2.Prompt(WithFiles()) ==
        "<repo_name>shop<file_sep>a.py\nA = 1\n<file_sep>b.py\nB = 2\n<file_sep>c.py\n"
        "<fim_prefix>def f(<fim_suffix>return 1\n<fim_middle>");

  const TinyModel qwen({"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>",
                        "<|repo_name|>", "<|file_sep|>"});
  CHECK(qwen.Prompt(WithFiles()) ==
        "<|repo_name|>shop\n<|file_sep|>a.py\nA = 1\n<|file_sep|>b.py\nB = 2\n<|file_sep|>c.py\n"
        "<|fim_prefix|>def f(<|fim_suffix|>return 1\n<|fim_middle|>");
  FimInput nameless = kSimple;
  nameless.extra = {{"", "x"}};
  CHECK(qwen.Prompt(nameless) ==
        "<|repo_name|>repository\n<|file_sep|>file\nx\n<|file_sep|>file\n"
        "<|fim_prefix|>def f(<|fim_suffix|>return 1\n<|fim_middle|>");

  const TinyModel starcoder(
      {"<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<reponame>", "<filename>"});
  CHECK(starcoder.Prompt(WithFiles()).find("<reponame>shop<filename>a.py\nA = 1\n") == 0);

  const TinyModel deepseek({"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"}, {}, true);
  CHECK(deepseek.Prompt(kSimple) ==
        "<s><｜fim▁begin｜>def f(<｜fim▁hole｜>return 1\n<｜fim▁end｜>");
  CHECK(deepseek.Prompt(WithFiles()) ==
        "<s><｜fim▁begin｜>#a.py\nA = 1\n#b.py\nB = 2\n#c.py\ndef f(<｜fim▁hole｜>return 1\n"
        "<｜fim▁end｜>");

  const TinyModel codestral({"[PREFIX]", "[SUFFIX]", "[MIDDLE]"}, {}, true);
  CHECK(codestral.Prompt(kSimple) == "<s>[SUFFIX]return 1\n[PREFIX]def f(");
  CHECK(codestral.Prompt(WithFiles()) ==
        "<s>[SUFFIX]return 1\n[PREFIX]+++++ a.py\nA = 1\n+++++ b.py\nB = 2\n+++++ c.py\ndef f(");

  const TinyModel codellama({"▁<PRE>", "▁<SUF>", "▁<MID>"}, {}, true);
  CHECK(codellama.Prompt(kSimple) == "<s>▁<PRE>def f(▁<SUF>return 1\n▁<MID>");
}

TEST_CASE("The beginning of the answer comes after the middle token", "[fim]") {
  const TinyModel model({"<fim_prefix>", "<fim_suffix>", "<fim_middle>"});
  FimInput input = kSimple;
  input.middle = "x, ";
  CHECK(model.Prompt(input) == "<fim_prefix>def f(<fim_suffix>return 1\n<fim_middle>x, ");
}

TEST_CASE("Metadata names the tokens, by its newer and its older keys", "[fim]") {
  const std::vector<std::string> odd = {"<p>", "<s2>", "<m>", "<r>", "<f>"};
  const uint32_t p = 97;
  const TinyModel newer(odd, {{"fim_pre_token_id", p},
                              {"fim_suf_token_id", p + 1},
                              {"fim_mid_token_id", p + 2},
                              {"fim_rep_token_id", p + 3},
                              {"fim_sep_token_id", p + 4}});
  CHECK(newer.Id("<p>") == static_cast<int32_t>(p));
  CHECK(newer.Prompt(kSimple) == "<p>def f(<s2>return 1\n<m>");
  CHECK(newer.Prompt(WithFiles()).find("<r>shop<f>a.py\n") == 0);
  const TinyModel older(
      odd, {{"prefix_token_id", p}, {"suffix_token_id", p + 1}, {"middle_token_id", p + 2}});
  CHECK(older.Prompt(kSimple) == "<p>def f(<s2>return 1\n<m>");
  // The newer ones win; ids outside the vocabulary are none.
  const TinyModel both({"<fim_prefix>", "<fim_suffix>", "<fim_middle>"},
                       {{"fim_pre_token_id", 4'000'000}, {"fim_suf_token_id", p}});
  CHECK(both.Prompt(kSimple) == "<fim_prefix>def f(<fim_suffix>return 1\n<fim_middle>");
}

TEST_CASE("A model without the tokens cannot fill in", "[fim]") {
  CHECK_FALSE(TinyModel({}).format.ok());
  CHECK_FALSE(TinyModel({"<fim_prefix>"}).format.ok());
  CHECK_FALSE(TinyModel({"<fim_prefix>", "<fim_suffix>"}).format.ok());
  CHECK_FALSE(TinyModel({"<repo_name>", "<file_sep>"}).format.ok());
  CHECK(TinyModel({"[PREFIX]", "[SUFFIX]"}).format.ok());
}

TEST_CASE("What a model may not write in an answer ends it", "[fim]") {
  const TinyModel qwen({"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>",
                        "<|repo_name|>", "<|file_sep|>"});
  const Ids stops = qwen.format.StopIds();
  CHECK(stops.size() == 6);
  for (const char* token : {"<|fim_pad|>", "<|file_sep|>", "<|repo_name|>"}) {
    CHECK(std::count(stops.begin(), stops.end(), qwen.Id(token)) == 1);
  }
}

TEST_CASE("Markers in text are text", "[fim]") {
  const TinyModel model({"<fim_prefix>", "<fim_suffix>", "<fim_middle>"});
  FimInput input = kSimple;
  input.prefix = "a<fim_suffix>b";
  const auto prompt = BuildFimPrompt(*model.tokenizer, model.format, input, 1000).value();
  CHECK(std::count(prompt.ids.begin(), prompt.ids.end(), model.format.suffix) == 1);
}

TEST_CASE("A prompt that is too long loses files, then its outer ends", "[fim]") {
  const TinyModel model(
      {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|repo_name|>", "<|file_sep|>"});
  const size_t whole =
      BuildFimPrompt(*model.tokenizer, model.format, WithFiles(), 10'000).value().ids.size();
  const auto one_less =
      BuildFimPrompt(*model.tokenizer, model.format, WithFiles(), whole - 1).value();
  CHECK(one_less.truncated);
  const std::string text = model.tokenizer->Decode(one_less.ids, false);
  CHECK(text.find("a.py") == std::string::npos);
  CHECK(text.find("b.py") != std::string::npos);
  FimInput input = kSimple;
  input.prefix = "0123456789";
  input.suffix = "abcdefghij";
  CHECK(model.Prompt(input, 3 + 12) == "<|fim_prefix|>123456789<|fim_suffix|>abc<|fim_middle|>");
  CHECK(model.Prompt(input, 3) == "<|fim_prefix|><|fim_suffix|><|fim_middle|>");
  CHECK_THAT(model.Prompt(input, 2), ContainsSubstring("INVALID_ARGUMENT"));
}

// The rules of ShareFimBudget, one token at a time.
FimShare NaiveShare(const FimLengths& lengths, size_t budget) {
  FimShare out;
  out.fits = budget >= lengths.fixed;
  if (!out.fits) {
    out.truncated = true;
    return out;
  }
  const size_t room = budget - lengths.fixed;
  // Of four tokens the first three are the prefix's; who needs none passes it on.
  const size_t suffix_part = room / 4;
  for (size_t used = 0; used < room - suffix_part; ++used) {
    if (out.prefix < lengths.prefix) {
      ++out.prefix;
    } else if (out.suffix < lengths.suffix) {
      ++out.suffix;
    }
  }
  for (size_t used = 0; used < suffix_part; ++used) {
    if (out.suffix < lengths.suffix) {
      ++out.suffix;
    } else if (out.prefix < lengths.prefix) {
      ++out.prefix;
    }
  }
  size_t left = room - out.prefix - out.suffix;
  out.first_extra = lengths.extra.size();
  for (size_t i = lengths.extra.size(); i-- > 0;) {
    if (lengths.extra[i] > left) break;
    left -= lengths.extra[i];
    out.first_extra = i;
  }
  out.truncated = out.prefix < lengths.prefix || out.suffix < lengths.suffix || out.first_extra > 0;
  return out;
}

TEST_CASE("The budget is shared as one token after the other would be", "[fim]") {
  std::mt19937 random(1);
  const auto upto = [&](size_t most) { return random() % (most + 1); };
  for (int round = 0; round < 20'000; ++round) {
    FimLengths lengths{.prefix = upto(30), .suffix = upto(30), .fixed = upto(6), .extra = {}};
    for (size_t i = upto(4); i > 0; --i) lengths.extra.push_back(upto(15));
    const size_t budget = upto(90);
    const FimShare a = ShareFimBudget(lengths, budget);
    const FimShare b = NaiveShare(lengths, budget);
    REQUIRE(a.fits == b.fits);
    REQUIRE(a.prefix == b.prefix);
    REQUIRE(a.suffix == b.suffix);
    REQUIRE(a.first_extra == b.first_extra);
    REQUIRE(a.truncated == b.truncated);
  }
}

}  // namespace
}  // namespace weft
