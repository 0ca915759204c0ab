#include "services/scheduler/text_assembler.h"

#include <algorithm>
#include <utility>

#include "libs/base/status.h"

namespace weft::scheduler {

TextAssembler::TextAssembler(std::unique_ptr<Detokenizer> detokenizer,
                             std::vector<std::string> stops)
    : detokenizer_(std::move(detokenizer)), stops_(std::move(stops)) {}

std::string_view TextAssembler::stop_string() const {
  return stop_ ? std::string_view(stops_[*stop_]) : std::string_view();
}

void TextAssembler::AddText(std::string_view text) {
  if (text.empty()) return;
  pending_ += text;
  // Text that was cleared cannot begin a stop string, so the search begins behind it.
  const size_t from = static_cast<size_t>(clear_end_ - bytes_taken_);
  size_t best_end = std::string::npos;
  size_t best_begin = 0;
  for (size_t i = 0; i < stops_.size(); ++i) {
    const size_t begin = pending_.find(stops_[i], from);
    if (begin == std::string::npos) continue;
    const size_t end = begin + stops_[i].size();
    if (end < best_end || (end == best_end && begin < best_begin)) {
      best_end = end;
      best_begin = begin;
      stop_ = i;
    }
  }
  if (stop_) {
    pending_.resize(best_begin);
    clear_end_ = bytes_taken_ + best_begin;
  } else {
    clear_end_ = bytes_taken_ + pending_.size() - HoldBack();
  }
}

size_t TextAssembler::HoldBack() const {
  const std::string_view text = pending_;
  size_t longest = 0;
  for (const std::string& stop : stops_) {
    size_t n = std::min(stop.size() - 1, text.size());
    for (; n > longest; --n) {
      if (text.substr(text.size() - n) == std::string_view(stop).substr(0, n)) {
        longest = n;
        break;
      }
    }
  }
  // Both are valid UTF-8, so what stays deliverable ends with a whole character.
  return longest;
}

void TextAssembler::Append(uint32_t token, v1::TokenLogprob* logprob) {
  if (!stop_) Add(token, logprob, detokenizer_->Append(token));
}

void TextAssembler::AppendSilent(uint32_t token, v1::TokenLogprob* logprob) {
  if (!stop_) Add(token, logprob, {});
}

void TextAssembler::Add(uint32_t token, v1::TokenLogprob* logprob, std::string_view text) {
  Entry entry{token, bytes_taken_ + pending_.size(), 0, std::nullopt};
  if (logprob != nullptr) entry.logprob = std::move(*logprob);
  entry.end = entry.begin + text.size();
  entries_.push_back(std::move(entry));
  AddText(text);
}

void TextAssembler::Finish() {
  if (stop_) return;
  const std::string rest = detokenizer_->Flush();
  if (!entries_.empty()) entries_.back().end += rest.size();
  AddText(rest);
  if (!stop_) clear_end_ = bytes_taken_ + pending_.size();
}

void TextAssembler::Take(TextDelta* delta) {
  if (delta->empty()) {
    delta->first_index = tokens_taken_;
    delta->byte_offset = bytes_taken_;
  }
  while (!entries_.empty()) {
    Entry& entry = entries_.front();
    // After a stop, a token that began before it is shown in part; one that begins there is not.
    const bool shown = stop_ ? entry.begin < clear_end_ : entry.end <= clear_end_;
    if (!shown) break;
    if (delta->tokens.empty()) delta->first_index = tokens_taken_;
    delta->tokens.push_back(entry.token);
    if (entry.logprob) delta->logprobs.push_back(std::move(*entry.logprob));
    ++tokens_taken_;
    entries_.pop_front();
  }
  if (stop_) entries_.clear();
  // Text leaves with its tokens, never before them: whoever resumes from what was delivered gives
  // the tokens back, and they must account for every byte.
  const uint64_t end = entries_.empty() ? clear_end_ : std::min(clear_end_, entries_.front().begin);
  const size_t bytes = static_cast<size_t>(end - bytes_taken_);
  delta->text.append(pending_, 0, bytes);
  pending_.erase(0, bytes);
  bytes_taken_ = end;
}

absl::Status TextAssembler::Restore(std::span<const uint32_t> tokens, uint64_t bytes_delivered) {
  for (const uint32_t token : tokens) {
    const std::string text = detokenizer_->Append(token);
    if (!stop_) AddText(text);
  }
  if (bytes_delivered > bytes_taken_ + pending_.size()) {
    return FailedPrecondition(
        "resume.text_bytes_delivered: {} bytes, but resume.output_ids give a text of {}",
        bytes_delivered, pending_.size());
  }
  pending_.erase(0, static_cast<size_t>(bytes_delivered));
  bytes_taken_ = bytes_delivered;
  clear_end_ = std::max(clear_end_, bytes_taken_);
  tokens_taken_ = static_cast<uint32_t>(tokens.size());
  return absl::OkStatus();
}

}  // namespace weft::scheduler
