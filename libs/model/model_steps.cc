#include "libs/model/model_steps.h"

#include <algorithm>
#include <utility>

#include "libs/base/status.h"

namespace weft {
namespace {

// Biases, end-of-generation and stop tokens of one request.
constexpr int32_t kOtherEdits = 1280;

}  // namespace

size_t MostEdits(int32_t context_tokens, int32_t vocab) {
  return static_cast<size_t>(std::min(context_tokens + kOtherEdits, vocab)) + 1;
}

void ModelSteps::AddPadding(int32_t rows, int32_t context_tokens) {
  const int32_t tokens = p_.shape->block_tokens;
  spare_table_.resize(static_cast<size_t>((context_tokens + tokens - 1) / tokens), p_.spare_page);
  const int32_t position = context_tokens - 1;
  while (padded_.rows() < rows) {
    padded_.sequences.push_back({.first_row = padded_.rows(),
                                 .rows = 1,
                                 .block_table = spare_table_.data(),
                                 .blocks = static_cast<int32_t>(spare_table_.size()),
                                 .context_tokens = context_tokens});
    padded_.tokens.push_back(0);
    padded_.positions.push_back(position);
    padded_.cache_slots.push_back(p_.spare_page * tokens + position % tokens);
    padded_.wants_logits.push_back(1);
    rows_.push_back({.temperature = 0});
    fed_.push_back(-1);
    counted_.push_back(-1);
  }
}

void ModelSteps::Pad(const StepBatch& batch, const StepChoices& choices, int32_t rows) {
  padded_ = batch;
  rows_.assign(choices.rows.begin(), choices.rows.end());
  fed_.assign(choices.fed.begin(), choices.fed.end());
  counted_.assign(choices.counted.begin(), choices.counted.end());
  AddPadding(rows, 1);
}

absl::Status ModelSteps::Record() {
  // Every kernel once as it is: what a driver loads at the first use it cannot load while it
  // records, and a kernel that fails does so before there are requests.
  const auto once = [&](int32_t rows, int32_t context_tokens) -> absl::Status {
    Pad({}, {}, 0);
    AddPadding(rows, context_tokens);
    WEFT_RETURN_IF_ERROR(p_.transformer->Launch(padded_, padding(), /*padded=*/true, p_.cache,
                                                *p_.shape, *p_.progress));
    return p_.device->CollectStep().status();
  };
  int32_t last = 0;
  bool merged = false;
  const bool loads = !p_.device->device().info().emulated;  // the emulator loads nothing
  for (const GraphShape& shape : p_.device->graph_shapes()) {
    if (!loads) break;
    if (std::exchange(last, shape.rows) == shape.rows) {
      // The first shape of more than one chunk.
      if (shape.rows > 1 || merged) continue;
      merged = true;
      WEFT_RETURN_IF_ERROR(once(1, std::min(shape.context_tokens, p_.context_tokens)));
    } else {
      WEFT_RETURN_IF_ERROR(once(shape.rows, 1));
    }
  }
  for (const GraphShape& shape : p_.device->graph_shapes()) {
    Pad({}, {}, 0);
    AddPadding(shape.rows, std::min(shape.context_tokens, p_.context_tokens));
    WEFT_RETURN_IF_ERROR(Annotate(p_.transformer->Record(padded_, padding(), p_.cache, *p_.shape),
                                  fmt::format("recording steps of {} rows", shape.rows)));
  }
  recorded_ = true;
  return absl::OkStatus();
}

absl::Status ModelSteps::Launch(const StepBatch& batch, const StepChoices& choices) {
  WEFT_RETURN_IF_ERROR(health());
  WEFT_RETURN_IF_ERROR(p_.check(batch));
  const auto wanted = static_cast<size_t>(
      std::count(batch.wants_logits.begin(), batch.wants_logits.end(), uint8_t{1}));
  if (choices.rows.size() != wanted || choices.counted.size() != wanted ||
      choices.fed.size() != batch.tokens.size()) {
    return InvalidArgument(
        "choices: expected {} rows and as many counted, and {} fed, found {}, {} and {}", wanted,
        batch.tokens.size(), choices.rows.size(), choices.counted.size(), choices.fed.size());
  }
  if (choices.edits.size() > p_.edits_of_step) {
    return InvalidArgument("choices.edits: expected at most {}, found {}", p_.edits_of_step,
                           choices.edits.size());
  }
  // One row a sequence, all of them wanted.
  const bool decode =
      recorded_ && batch.sequences.size() == batch.tokens.size() && wanted == batch.tokens.size();
  const int32_t rows = decode ? p_.device->PaddedRows(batch.rows()) : 0;
  if (rows == 0) {
    return Note(p_.transformer->Launch(batch, choices, /*padded=*/false, p_.cache, *p_.shape,
                                       *p_.progress));
  }
  Pad(batch, choices, rows);
  StepChoices all = padding();
  all.edits = choices.edits;
  return Note(
      p_.transformer->Launch(padded_, all, /*padded=*/true, p_.cache, *p_.shape, *p_.progress));
}

absl::StatusOr<StepAnswers> ModelSteps::Collect() {
  WEFT_RETURN_IF_ERROR(health());
  absl::StatusOr<StepAnswers> answers = p_.device->CollectStep();
  WEFT_RETURN_IF_ERROR(Note(answers.status()));
  return answers;
}

absl::Status ModelSteps::Note(absl::Status status) {
  if (status.ok()) return status;
  std::lock_guard lock(mutex_);
  if (failed_.ok()) failed_ = Annotate(status, "device");
  return failed_;
}

absl::Status ModelSteps::health() const {
  std::lock_guard lock(mutex_);
  return failed_;
}

}  // namespace weft
