#include "libs/quantize/quantize_model.h"

#include <algorithm>
#include <atomic>
#include <set>
#include <tuple>

#include "libs/base/atomic_file.h"
#include "libs/base/status.h"
#include "libs/device/cpu_features.h"
#include "libs/device/thread_team.h"
#include "libs/gguf/gguf_writer.h"
#include "libs/quantize/quantizers.h"
#include "libs/tensor/block_formats.h"

namespace weft {
namespace {

constexpr uint32_t kQuantizationVersion = 2;  // of ggml's block formats
constexpr int64_t kTaskElements = 1 << 17;    // about: a task takes whole rows
constexpr int64_t kTasksPerThread = 4;

bool IsReplaced(std::string_view key) {
  return key == "general.file_type" || key == "general.quantization_version" ||
         key == "general.alignment" || key.starts_with("split.");
}

absl::Status Check(const PlannedTensor& planned) {
  const Tensor& source = *planned.source;
  if (planned.type == source.type) return absl::OkStatus();
  if (!IsSupported(source.type)) {
    return Unimplemented("tensor {}: type {} cannot be decoded (only {})", source.name,
                         Name(source.type), SupportedTypeNames());
  }
  const std::optional<uint64_t> bytes = BytesFor(source.type, source.elements());
  if (!bytes.has_value() || source.dims[0] % BlockSize(source.type) != 0 || source.bytes < *bytes) {
    return InvalidArgument("tensor {}: rows of {} elements do not match its {} bytes of {}",
                           source.name, source.dims[0], source.bytes, Name(source.type));
  }
  return absl::OkStatus();
}

// Encodes tensors piece by piece and appends them to the file.
class Encoder {
 public:
  Encoder(AtomicFile& file, const QuantizeOptions& options, uint64_t total)
      : file_(file),
        options_(options),
        total_(static_cast<double>(std::max<uint64_t>(total, 1))),
        team_({.threads = options.threads == 0 ? AvailableCpus() : options.threads}),
        scratch_(static_cast<size_t>(team_.threads())) {}

  absl::Status Write(const PlannedTensor& planned) {
    const Tensor& source = *planned.source;
    if (planned.type == source.type) {
      WEFT_RETURN_IF_ERROR(file_.Append(
          {reinterpret_cast<const char*>(source.data), static_cast<size_t>(source.bytes)}));
      return Advance(source.elements(), source.name);
    }
    const int64_t columns = source.dims[0];
    const int64_t rows = source.elements() / columns;
    const int64_t per_task = std::max<int64_t>(1, kTaskElements / columns);
    const int64_t per_batch = per_task * kTasksPerThread * team_.threads();
    for (int64_t first = 0; first < rows; first += per_batch) {
      const int64_t count = std::min(per_batch, rows - first);
      WEFT_RETURN_IF_ERROR(WriteRows(planned, first, count, per_task));
      WEFT_RETURN_IF_ERROR(Advance(count * columns, source.name));
    }
    return absl::OkStatus();
  }

 private:
  absl::Status WriteRows(const PlannedTensor& planned, int64_t first, int64_t count,
                         int64_t per_task) {
    const Tensor& source = *planned.source;
    const int64_t columns = source.dims[0];
    const uint64_t row_in = *BytesFor(source.type, columns);
    const uint64_t row_out = *BytesFor(planned.type, columns);
    encoded_.resize(row_out * static_cast<uint64_t>(count));
    std::atomic<int64_t> bad{-1};
    team_.ParallelFor((count + per_task - 1) / per_task, [&](int64_t task, int rank) {
      std::vector<float>& values = scratch_[static_cast<size_t>(rank)];
      values.resize(static_cast<size_t>(columns));
      const int64_t end = std::min(count, (task + 1) * per_task);
      for (int64_t row = task * per_task; row < end; ++row) {
        const uint8_t* from = source.data + row_in * static_cast<uint64_t>(first + row);
        uint8_t* to = encoded_.data() + row_out * static_cast<uint64_t>(row);
        WEFT_CHECK(Dequantize(source.type, from, columns, values.data()));
        if (!Quantize(planned.type, values.data(), columns, to)) bad.store(first + row);
      }
    });
    if (bad.load() >= 0) {
      return InvalidArgument("tensor {}: row {} has a value that is not finite or too large for {}",
                             source.name, bad.load(), Name(planned.type));
    }
    return file_.Append({reinterpret_cast<const char*>(encoded_.data()), encoded_.size()});
  }

  absl::Status Advance(int64_t elements, const std::string& name) {
    done_ += static_cast<double>(elements);
    if (options_.progress && !options_.progress(done_ / total_, name)) {
      return Cancelled("interrupted at tensor {}", name);
    }
    return absl::OkStatus();
  }

  AtomicFile& file_;
  const QuantizeOptions& options_;
  double total_;
  double done_ = 0;
  ThreadTeam team_;
  std::vector<std::vector<float>> scratch_;
  std::vector<uint8_t> encoded_;
};

// The counts and notes of a plan.
QuantizeReport Summarise(const std::vector<PlannedTensor>& plan) {
  QuantizeReport report;
  std::map<std::tuple<int64_t, DType, DType>, int> fallbacks;
  std::set<DType> requantized;
  for (const PlannedTensor& planned : plan) {
    const Tensor& source = *planned.source;
    report.bytes_in += source.bytes;
    report.elements += static_cast<uint64_t>(source.elements());
    ++report.tensors[planned.type];
    if (planned.type != planned.wanted) {
      ++fallbacks[{source.dims[0], planned.type, planned.wanted}];
    }
    if (planned.type != source.type && FindBlockFormat(source.type) != nullptr) {
      requantized.insert(source.type);
    }
  }
  for (const auto& [key, count] : fallbacks) {
    const auto& [columns, type, wanted] = key;
    report.fallbacks.push_back(fmt::format("{} tensor{} with rows of {}: {} instead of {}", count,
                                           count == 1 ? "" : "s", columns, Name(type),
                                           Name(wanted)));
  }
  report.requantized.assign(requantized.begin(), requantized.end());
  return report;
}

}  // namespace

absl::StatusOr<QuantizeReport> QuantizeModel(const TensorSource& tensors, const GgufFile& metadata,
                                             const std::string& out,
                                             const QuantizeOptions& options) {
  if (tensors.tensors().empty()) return InvalidArgument("the model has no tensors");
  uint64_t experts = 0;
  if (const auto architecture = metadata.GetString("general.architecture"); architecture.ok()) {
    experts = metadata.GetUint(std::string(*architecture) + ".expert_count").value_or(0);
  }
  const std::vector<PlannedTensor> plan = PlanTypes(tensors.tensors(), options.mix, experts);
  GgufWriter writer;
  for (const GgufFile::Entry& entry : metadata.entries()) {
    if (!IsReplaced(entry.key)) writer.AddEntry(entry);
  }
  writer.AddUint32("general.file_type", FileTypeNumber(options.mix));
  writer.AddUint32("general.quantization_version", kQuantizationVersion);
  for (const PlannedTensor& planned : plan) {
    WEFT_RETURN_IF_ERROR(Check(planned));
    const Tensor& source = *planned.source;
    const uint64_t bytes = planned.type == source.type
                               ? source.bytes
                               : BytesFor(planned.type, source.elements()).value();
    writer.AddTensorInfo(source.name, static_cast<uint32_t>(planned.type), source.dims, bytes);
  }

  QuantizeReport report = Summarise(plan);
  WEFT_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(out, writer.FileBytes()));
  WEFT_RETURN_IF_ERROR(file.Append(writer.Head()));
  Encoder encoder(file, options, report.elements);
  for (const PlannedTensor& planned : plan) {
    const uint64_t padding = writer.PaddingAt(file.bytes());
    WEFT_RETURN_IF_ERROR(file.Append(std::string(static_cast<size_t>(padding), '\0')));
    WEFT_RETURN_IF_ERROR(encoder.Write(planned));
    tensors.Release(planned.source->data, planned.source->bytes);
  }
  report.bytes_out = file.bytes();
  WEFT_RETURN_IF_ERROR(file.Commit());
  return report;
}

}  // namespace weft
