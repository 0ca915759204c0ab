// tokenize, render: text to token ids and chat messages to text, without a mesh.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>

#include "libs/base/status.h"
#include "libs/tokenizer/chat_template.h"
#include "libs/tokenizer/model_metadata.h"
#include "libs/tokenizer/tokenizer.h"
#include "services/weftctl/commands.h"

namespace weft::ctl {
namespace {

using nlohmann::ordered_json;

constexpr size_t kMostInputBytes = 256 << 20;

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  if (!file.good() && !file.eof()) return NotFound("cannot read {}", path);
  return text;
}

absl::StatusOr<std::shared_ptr<const Tokenizer>> LoadTokenizer(const std::string& model) {
  WEFT_ASSIGN_OR_RETURN(auto metadata, OpenModelMetadata(model));
  return Tokenizer::FromGguf(*metadata);
}

struct TokenizeFlags {
  std::string model;
  bool no_special = false;
  bool parse_special = false;
};

absl::StatusOr<int> Tokenize(const TokenizeFlags& flags) {
  WEFT_ASSIGN_OR_RETURN(auto tokenizer, LoadTokenizer(flags.model));
  std::string text{std::istreambuf_iterator<char>(std::cin), {}};
  if (text.size() > kMostInputBytes) return InvalidArgument("stdin: more than 256 MiB");
  const std::vector<int32_t> ids = tokenizer->Encode(
      text, {.add_special = !flags.no_special, .parse_special = flags.parse_special});
  fmt::print("{}\n", fmt::join(ids, " "));
  return 0;
}

struct RenderFlags {
  std::string model;
  std::string template_file;
  std::string messages_file;
  bool no_generation_prompt = false;
};

absl::StatusOr<int> Render(const RenderFlags& flags) {
  std::string source, bos, eos;
  if (!flags.model.empty()) {
    WEFT_ASSIGN_OR_RETURN(auto tokenizer, LoadTokenizer(flags.model));
    source = tokenizer->chat_template();
    if (tokenizer->bos() >= 0) bos = tokenizer->TokenBytes(tokenizer->bos());
    if (tokenizer->eos() >= 0) eos = tokenizer->TokenBytes(tokenizer->eos());
    if (source.empty() && flags.template_file.empty()) {
      return NotFound("{} has no chat template; give --template", flags.model);
    }
  }
  if (!flags.template_file.empty()) {
    WEFT_ASSIGN_OR_RETURN(source, ReadFile(flags.template_file));
  }
  if (source.empty() && flags.model.empty() && flags.template_file.empty()) {
    return InvalidArgument("give --template FILE or --model MODEL");
  }
  WEFT_ASSIGN_OR_RETURN(std::string text, ReadFile(flags.messages_file));
  const ordered_json messages = ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (messages.is_discarded()) return InvalidArgument("{} is not JSON", flags.messages_file);
  WEFT_ASSIGN_OR_RETURN(ChatTemplate chat, ChatTemplate::Parse(source));
  std::string rendered;
  if (messages.is_object()) {
    // All the variables of the template, exactly as they are given.
    WEFT_ASSIGN_OR_RETURN(rendered, chat.RenderWith(messages));
  } else {
    ChatRenderOptions options;
    options.add_generation_prompt = !flags.no_generation_prompt;
    options.bos_token = bos;
    options.eos_token = eos;
    WEFT_ASSIGN_OR_RETURN(rendered, chat.Render(messages, options));
  }
  std::fwrite(rendered.data(), 1, rendered.size(), stdout);
  return 0;
}

}  // namespace

void AddTextCommands(CLI::App& app, Commands& commands) {
  auto tokenize_flags = std::make_shared<TokenizeFlags>();
  auto* tokenize = app.add_subcommand("tokenize", "token ids of stdin, on one line");
  tokenize->add_option("model", tokenize_flags->model, "GGUF file or Hugging Face folder")
      ->required();
  tokenize->add_flag("--no-special", tokenize_flags->no_special,
                     "without the begin and end tokens that the model asks for");
  tokenize->add_flag("--parse-special", tokenize_flags->parse_special,
                     "text like <|im_end|> becomes the control token");
  commands.push_back({tokenize, [tokenize_flags] { return Tokenize(*tokenize_flags); }});

  auto render_flags = std::make_shared<RenderFlags>();
  auto* render = app.add_subcommand("render", "chat messages through a chat template");
  render->add_option("--template", render_flags->template_file, "file with a Jinja template");
  render->add_option("--model", render_flags->model,
                     "GGUF file or Hugging Face folder: its template and tokens");
  render
      ->add_option("--messages", render_flags->messages_file,
                   "JSON file: a list of messages, or an object of all template variables")
      ->required();
  render->add_flag("--no-generation-prompt", render_flags->no_generation_prompt,
                   "do not open the assistant's turn");
  commands.push_back({render, [render_flags] { return Render(*render_flags); }});
}

}  // namespace weft::ctl
