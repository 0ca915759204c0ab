// Every hot kernel on one GPU, on the shapes of an 8B model: time by events over many launches, the
// bytes it must move, and what part that is of a kernel which only reads, timed in the same run.
// One JSON object a line.
//
//   gpu_kernel_bench [--device N] [--only TEXT] [--repeats N] [--small]
//
// Inputs rotate among copies that are together larger than the L2 cache. --small: shapes and
// repeats that the emulator can run, to try the program out.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "bench/gpu/bench_device.h"
#include "bench/gpu/read_gpu.h"
#include "libs/base/status.h"
#include "libs/ops/activate_gpu.h"
#include "libs/ops/attention_gpu.h"
#include "libs/ops/gpu_status.h"
#include "libs/ops/matmul_gpu.h"
#include "libs/ops/norm_gpu.h"
#include "libs/ops/random_gpu.h"
#include "libs/ops/sample_gpu.h"
#include "libs/tensor/storage.h"

namespace weft::bench {
namespace {

struct Options {
  int32_t device = 0;
  std::string only;
  int32_t repeats = 50;
  bool small = false;
};

class Bench {
 public:
  Bench(Device& device, const Options& options) : device_(device), o_(options) {}

  absl::Status Run() {
    WEFT_ASSIGN_OR_RETURN(stream_, MakeStream(device_));
    WEFT_ASSIGN_OR_RETURN(begin_, MakeEvent(device_));
    WEFT_ASSIGN_OR_RETURN(end_, MakeEvent(device_));
    WEFT_RETURN_IF_ERROR(Reading());
    WEFT_RETURN_IF_ERROR(Products());
    WEFT_RETURN_IF_ERROR(Attention());
    WEFT_RETURN_IF_ERROR(Rows());
    return Sampling();
  }

 private:
  // A launch with the i-th copy of its inputs.
  using Launch = std::function<gpu::LaunchResult(int32_t i)>;

  // Milliseconds of one launch: the median of several rounds.
  absl::StatusOr<double> Time(const Launch& launch) {
    const int32_t rounds = o_.small ? 1 : 7;
    std::vector<double> times;
    for (int32_t round = -1; round < rounds; ++round) {
      WEFT_RETURN_IF_ERROR(device_.Record(begin_.get(), stream_.get()));
      for (int32_t i = 0; i < o_.repeats; ++i) {
        WEFT_RETURN_IF_ERROR(gpu::ToStatus(launch(i)));
      }
      WEFT_RETURN_IF_ERROR(device_.Record(end_.get(), stream_.get()));
      WEFT_RETURN_IF_ERROR(device_.Synchronize(stream_.get()));
      WEFT_ASSIGN_OR_RETURN(const double ms, device_.Milliseconds(begin_.get(), end_.get()));
      if (round >= 0) times.push_back(ms / o_.repeats);  // the first one warms up
    }
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
  }

  absl::Status Case(const std::string& kernel, const std::string& shape, uint64_t bytes,
                    const Launch& launch, double operations = 0) {
    if (!o_.only.empty() && kernel != "read" && kernel.find(o_.only) == std::string::npos) {
      return absl::OkStatus();
    }
    WEFT_ASSIGN_OR_RETURN(const double ms, Time(launch));
    const double rate = static_cast<double>(bytes) / (ms * 1e-3);
    if (kernel == "read") read_rate_ = std::max(read_rate_, rate);
    std::printf(
        "{\"device\": \"%s\", \"kernel\": \"%s\", \"shape\": \"%s\", \"bytes\": %llu, \"us\": "
        "%.2f, \"gb_s\": %.1f, \"of_read\": %.3f, \"tflop_s\": %.2f}\n",
        device_.info().name.c_str(), kernel.c_str(), shape.c_str(),
        static_cast<unsigned long long>(bytes), ms * 1e3, rate * 1e-9, rate / read_rate_,
        operations / (ms * 1e-3) * 1e-12);
    std::fflush(stdout);
    return absl::OkStatus();
  }

  // Memory with small random bf16 numbers, or blocks of another type.
  absl::StatusOr<DeviceBuffer> Random(uint64_t bytes, DType type = DType::kBF16) {
    WEFT_ASSIGN_OR_RETURN(DeviceBuffer buffer, MakeDeviceBuffer(device_, bytes));
    WEFT_RETURN_IF_ERROR(gpu::ToStatus(gpu::FillRandom(
        type, {.to = buffer.get(), .bytes = bytes, .seed = ++seed_, .deviation = 0.02f},
        stream_.get())));
    return buffer;
  }
  // fp32: pairs of bf16 words read as one number are small too.
  absl::StatusOr<DeviceBuffer> Floats(uint64_t count) { return Random(count * 4); }
  template <typename T>
  absl::StatusOr<DeviceBuffer> Put(const std::vector<T>& values) {
    const uint64_t bytes = values.size() * sizeof(T);
    WEFT_ASSIGN_OR_RETURN(DeviceBuffer buffer, MakeDeviceBuffer(device_, bytes));
    WEFT_ASSIGN_OR_RETURN(const PinnedBuffer pinned, MakePinnedBuffer(device_, bytes));
    std::copy(values.begin(), values.end(), static_cast<T*>(pinned.get()));
    WEFT_RETURN_IF_ERROR(
        device_.CopyAsync(buffer.get(), pinned.get(), bytes, CopyKind::kToDevice, stream_.get()));
    WEFT_RETURN_IF_ERROR(device_.Synchronize(stream_.get()));
    return buffer;
  }
  // How many copies of so many bytes are three times the L2 cache.
  int32_t Copies(uint64_t bytes) const {
    if (o_.small) return 2;
    return static_cast<int32_t>(
        std::clamp<uint64_t>(3 * device_.info().l2_bytes / std::max<uint64_t>(bytes, 1), 2, 64));
  }

  absl::Status Reading() {
    const uint64_t bytes = o_.small ? 1 << 16 : uint64_t{4} << 30;
    WEFT_ASSIGN_OR_RETURN(const DeviceBuffer from, Random(bytes));
    WEFT_ASSIGN_OR_RETURN(const DeviceBuffer sum, MakeDeviceBuffer(device_, 256));
    for (const int32_t blocks : {2, 4}) {  // of each multiprocessor
      const gpu::ReadParams params{from.get(), bytes, static_cast<uint32_t*>(sum.get()),
                                   device_.info().multiprocessors * blocks};
      WEFT_RETURN_IF_ERROR(Case("read", fmt::format("{} bytes, {} blocks", bytes, params.blocks),
                                bytes, [&](int32_t) { return gpu::Read(params, stream_.get()); }));
    }
    return absl::OkStatus();
  }

  absl::Status Products() {
    const std::vector<std::pair<int64_t, int64_t>> shapes =
        o_.small ? std::vector<std::pair<int64_t, int64_t>>{{64, 256}}
                 : std::vector<std::pair<int64_t, int64_t>>{
                       {4096, 4096}, {14'336, 4096}, {4096, 14'336}, {128'256, 4096}};
    for (const DType type :
         {DType::kBF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_1, DType::kQ4_K, DType::kQ6_K}) {
      for (const auto& [outputs, cols] : shapes) {
        const uint64_t bytes = *BytesFor(type, outputs * cols);
        std::vector<DeviceBuffer> weights;
        for (int32_t i = 0; i < Copies(bytes); ++i) {
          WEFT_ASSIGN_OR_RETURN(DeviceBuffer one, Random(bytes, type));
          weights.push_back(std::move(one));
        }
        for (const int32_t rows :
             o_.small ? std::vector<int32_t>{3} : std::vector<int32_t>{1, 4, 16, 64, 256}) {
          WEFT_ASSIGN_OR_RETURN(const DeviceBuffer x,
                                Random(static_cast<uint64_t>(rows * cols) * 2));
          WEFT_ASSIGN_OR_RETURN(
              const DeviceBuffer out,
              MakeDeviceBuffer(device_, static_cast<uint64_t>(rows * outputs) * 4));
          gpu::SkinnyParams params{.x = static_cast<const uint16_t*>(x.get()),
                                   .out = static_cast<float*>(out.get()),
                                   .outputs = outputs,
                                   .cols = cols,
                                   .row_bytes = static_cast<int64_t>(*BytesFor(type, cols)),
                                   .rows = rows};
          WEFT_RETURN_IF_ERROR(Case(
              fmt::format("matmul {}", Name(type)),
              fmt::format("{} x {}, {} rows", outputs, cols, rows),
              bytes + static_cast<uint64_t>(rows * (cols * 2 + outputs * 4)),
              [&](int32_t i) {
                params.weights = static_cast<const uint8_t*>(
                    weights[static_cast<size_t>(i) % weights.size()].get());
                return gpu::SkinnyMatmul(type, params, stream_.get());
              },
              2.0 * static_cast<double>(outputs * cols) * rows));
        }
      }
    }
    return absl::OkStatus();
  }

  absl::Status Attention() {
    const int32_t heads = o_.small ? 4 : 32, kv_heads = o_.small ? 2 : 8;
    const int32_t dim = o_.small ? 16 : 128;
    struct Shape {
      int32_t sequences, rows, context;
    };
    const std::vector<Shape> shapes =
        o_.small ? std::vector<Shape>{{2, 1, 600}, {1, 16, 32}}
                 : std::vector<Shape>{{1, 1, 1024},    {1, 1, 8192},  {1, 1, 32'768}, {16, 1, 1024},
                                      {16, 1, 8192},   {64, 1, 2048}, {256, 1, 1024}, {1, 512, 512},
                                      {1, 2048, 2048}, {1, 512, 8192}};
    for (const Shape& shape : shapes) {
      constexpr int32_t kPage = 64;
      const int32_t pages = (shape.context + kPage - 1) / kPage;
      const int32_t rows = shape.sequences * shape.rows;
      const uint64_t page_bytes = static_cast<uint64_t>(kv_heads * dim) * kPage * 2;
      const uint64_t kv_bytes = page_bytes * static_cast<uint64_t>(pages * shape.sequences);
      std::vector<DeviceBuffer> k, v;
      for (int32_t i = 0; i < Copies(2 * kv_bytes); ++i) {
        WEFT_ASSIGN_OR_RETURN(DeviceBuffer one, Random(kv_bytes));
        k.push_back(std::move(one));
        WEFT_ASSIGN_OR_RETURN(one, Random(kv_bytes));
        v.push_back(std::move(one));
      }
      std::vector<gpu::AttentionItem> items;
      std::vector<int32_t> tables, positions, partial;
      const int32_t together = gpu::AttentionItemRows(heads, kv_heads);
      for (int32_t s = 0; s < shape.sequences; ++s) {
        const auto table = static_cast<int32_t>(tables.size());
        for (int32_t i = 0; i < pages; ++i) tables.push_back(s * pages + i);
        for (int32_t r = 0; r < shape.rows; ++r) {
          positions.push_back(shape.context - shape.rows + r);
          partial.push_back(shape.rows == 1 ? s : -1);
        }
        for (int32_t r = 0; r < shape.rows; r += together) {
          items.push_back({s * shape.rows + r, std::min(together, shape.rows - r),
                           shape.context - shape.rows + r, table, shape.rows == 1 ? 1 : 0});
        }
      }
      const int32_t chunks = shape.rows == 1 ? (shape.context - 1) / gpu::kChunkTokens + 1 : 1;
      WEFT_ASSIGN_OR_RETURN(const DeviceBuffer q,
                            Floats(static_cast<uint64_t>(rows * heads * dim)));
      WEFT_ASSIGN_OR_RETURN(
          const DeviceBuffer out,
          MakeDeviceBuffer(device_, static_cast<uint64_t>(rows * heads * dim) * 2));
      WEFT_ASSIGN_OR_RETURN(const DeviceBuffer device_items, Put(items));
      WEFT_ASSIGN_OR_RETURN(const DeviceBuffer device_tables, Put(tables));
      WEFT_ASSIGN_OR_RETURN(const DeviceBuffer device_positions, Put(positions));
      WEFT_ASSIGN_OR_RETURN(const DeviceBuffer device_partial, Put(partial));
      const auto sums =
          static_cast<uint64_t>(shape.sequences) * static_cast<uint64_t>(heads * chunks);
      WEFT_ASSIGN_OR_RETURN(const DeviceBuffer partial_sums,
                            MakeDeviceBuffer(device_, sums * static_cast<uint64_t>(dim + 2) * 4));
      gpu::AttentionParams params;
      params.q = static_cast<const float*>(q.get());
      params.items = static_cast<const gpu::AttentionItem*>(device_items.get());
      params.tables = static_cast<const int32_t*>(device_tables.get());
      params.out_bf16 = static_cast<uint16_t*>(out.get());
      params.partial_o = static_cast<float*>(partial_sums.get());
      params.partial_ml = params.partial_o + sums * static_cast<uint64_t>(dim);
      params.positions = static_cast<const int32_t*>(device_positions.get());
      params.partial_rows = static_cast<const int32_t*>(device_partial.get());
      params.scale = 0.1f;
      params.item_count = static_cast<int32_t>(items.size());
      params.rows = rows;
      params.heads = heads;
      params.kv_heads = kv_heads;
      params.head_dim = dim;
      params.block_tokens = kPage;
      params.chunks = chunks;
      params.kv_type = gpu::KvType::kBf16;
      const double visible = shape.context - (shape.rows - 1) / 2.0;  // of a row, on average
      WEFT_RETURN_IF_ERROR(Case(
          shape.rows == 1 ? "attention decode" : "attention prefill",
          fmt::format("{} x {} rows, {} tokens", shape.sequences, shape.rows, shape.context),
          2 * kv_bytes,
          [&](int32_t i) {
            params.k_pages =
                static_cast<const uint16_t*>(k[static_cast<size_t>(i) % k.size()].get());
            params.v_pages =
                static_cast<const uint16_t*>(v[static_cast<size_t>(i) % v.size()].get());
            const gpu::LaunchResult one = gpu::PagedAttention(params, stream_.get());
            return one.error != nullptr ? one : gpu::MergeAttention(params, stream_.get());
          },
          4.0 * rows * heads * dim * visible));
    }
    return absl::OkStatus();
  }

  absl::Status Rows() {
    const int32_t width = o_.small ? 64 : 4096;
    for (const int32_t rows :
         o_.small ? std::vector<int32_t>{2} : std::vector<int32_t>{1, 64, 512}) {
      const auto count = static_cast<uint64_t>(rows) * static_cast<uint64_t>(width);
      WEFT_ASSIGN_OR_RETURN(const DeviceBuffer x, Floats(count));
      WEFT_ASSIGN_OR_RETURN(const DeviceBuffer delta, Floats(count));
      WEFT_ASSIGN_OR_RETURN(const DeviceBuffer weight, Floats(static_cast<uint64_t>(width)));
      WEFT_ASSIGN_OR_RETURN(const DeviceBuffer out, MakeDeviceBuffer(device_, count * 2));
      const std::string shape = fmt::format("{} x {}", rows, width);
      WEFT_RETURN_IF_ERROR(Case("add norm", shape, count * 14, [&](int32_t) {
        return gpu::AddNorm({.x = static_cast<float*>(x.get()),
                             .delta = static_cast<const float*>(delta.get()),
                             .weight = static_cast<const float*>(weight.get()),
                             .out_bf16 = static_cast<uint16_t*>(out.get()),
                             .delta_scale = 1e-3f,
                             .eps = 1e-5f,
                             .rows = rows,
                             .width = width},
                            stream_.get());
      }));
      WEFT_RETURN_IF_ERROR(Case("activate", shape, count * 10, [&](int32_t) {
        return gpu::Activate({.gate = static_cast<const float*>(x.get()),
                              .up = static_cast<const float*>(delta.get()),
                              .out_bf16 = static_cast<uint16_t*>(out.get()),
                              .elements = static_cast<int64_t>(count)},
                             stream_.get());
      }));
    }
    return absl::OkStatus();
  }

  absl::Status Sampling() {
    const int32_t vocab = o_.small ? 500 : 128'256;
    for (const int32_t rows :
         o_.small ? std::vector<int32_t>{2} : std::vector<int32_t>{1, 16, 64, 256}) {
      WEFT_ASSIGN_OR_RETURN(const DeviceBuffer logits,
                            Floats(static_cast<uint64_t>(rows) * static_cast<uint64_t>(vocab)));
      WEFT_ASSIGN_OR_RETURN(const DeviceBuffer tokens,
                            MakeDeviceBuffer(device_, static_cast<uint64_t>(rows) * 4));
      for (const bool greedy : {true, false}) {
        gpu::SampleRow row{.seed = 7, .temperature = greedy ? 0.0f : 0.8f};
        if (!greedy) row.top_p = 0.95f, row.top_k = 50;
        WEFT_ASSIGN_OR_RETURN(const DeviceBuffer of,
                              Put(std::vector<gpu::SampleRow>(static_cast<size_t>(rows), row)));
        WEFT_RETURN_IF_ERROR(Case(
            greedy ? "sample greedy" : "sample top-k top-p", fmt::format("{} x {}", rows, vocab),
            static_cast<uint64_t>(rows) * static_cast<uint64_t>(vocab) * 4, [&](int32_t) {
              return gpu::Sample({.logits = static_cast<float*>(logits.get()),
                                  .of = static_cast<const gpu::SampleRow*>(of.get()),
                                  .tokens = static_cast<int32_t*>(tokens.get()),
                                  .rows = rows,
                                  .vocab = vocab},
                                 stream_.get());
            }));
      }
    }
    return absl::OkStatus();
  }

  Device& device_;
  const Options& o_;
  Stream stream_;
  Event begin_, end_;
  double read_rate_ = 1;
  uint64_t seed_ = 0;
};

int Main(int argc, char** argv) {
  Options o;
  CLI::App app("The kernels on a GPU beside one that only reads");
  app.add_option("--device", o.device, "number of the GPU");
  app.add_option("--only", o.only, "kernels whose names hold this");
  app.add_option("--repeats", o.repeats, "launches of one timing")->check(CLI::Range(1, 10'000));
  app.add_flag("--small", o.small, "shapes and repeats for the emulator");
  CLI11_PARSE(app, argc, argv);
  if (o.small) o.repeats = 1;
  absl::StatusOr<std::unique_ptr<Device>> device = OpenBenchDevice(o.device);
  const absl::Status status = device.ok() ? Bench(**device, o).Run() : device.status();
  if (status.ok()) return 0;
  std::fprintf(stderr, "gpu_kernel_bench: %s\n", ToString(status).c_str());
  return 1;
}

}  // namespace
}  // namespace weft::bench

int main(int argc, char** argv) { return weft::bench::Main(argc, argv); }
