// What the engine needs of a model: the real one (model.h) or a test's fake.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <span>
#include <string>

#include "libs/model/model_config.h"
#include "libs/model/step_batch.h"

namespace weft {

class DeviceSteps;

// One thread at a time, except where a method says otherwise.
class ModelRunner {
 public:
  virtual ~ModelRunner() = default;

  // Constant after loading. Thread safe.
  virtual const ModelConfig& config() const = 0;

  // Makes room for `blocks` pages of `block_tokens` tokens (a multiple of 16); earlier contents are
  // lost. kResourceExhausted when there is no memory for them.
  virtual absl::Status AllocateKv(int32_t blocks, int32_t block_tokens) = 0;

  // Bytes of K and V, all layers, that one page takes. Thread safe.
  virtual uint64_t KvBytesPerBlock(int32_t block_tokens) const = 0;

  // The most pages for which AllocateKv succeeds when weights, steps and pages may take `part` of a
  // device's memory together; kFailedPrecondition where there is no device.
  virtual absl::StatusOr<int32_t> FittingBlocks(double part, int32_t block_tokens);

  // Computes one step; blocks until it is done. Writes each row's K and V to its slot, then
  // `logits` [count(wants_logits), vocab] in row order. The bits of a row depend only on the tokens
  // at and before its position in its own sequence. A batch that breaks StepBatch's rules, names
  // tokens outside the vocabulary, or refers to pages that do not exist is kInvalidArgument and
  // changes nothing.
  virtual absl::Status Forward(const StepBatch& batch, std::span<float> logits) = 0;

  // Steps that run while the host plans the next one; null where Forward is all there is. Either
  // is used, not both at once.
  virtual DeviceSteps* device_steps() { return nullptr; }

  // Not OK: no step will succeed any more, and a process of its own should end, so that its work
  // goes elsewhere. Thread safe.
  virtual absl::Status health() const { return absl::OkStatus(); }

  // Grows with every layer computed: liveness of a long step. Thread safe.
  virtual uint64_t layer_progress() const = 0;

  // Hex SHA-256 of the weights' file; computed at the first call (then cached). Thread safe.
  virtual std::string weights_sha256() const = 0;

  // The type that most of the weights have, "Q4_1". Thread safe.
  virtual std::string quantization() const = 0;

  // Two runners whose classes are equal give equal bits for equal inputs. Thread safe.
  virtual std::string numerics_class() const = 0;

  // Bytes of weights, KV pages and scratch that are held in memory. Thread safe.
  virtual uint64_t memory_bytes() const = 0;
};

}  // namespace weft
