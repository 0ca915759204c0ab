#include "libs/model/gguf_source.h"

#include "libs/base/ids.h"
#include "libs/base/mapped_file.h"
#include "libs/base/status.h"
#include "libs/gguf/gguf.h"
#include "libs/model/sha256.h"

namespace weft {

GgufSource::GgufSource(std::shared_ptr<const GgufFile> file, bool mapped)
    : file_(std::move(file)), mapped_(mapped) {
  tensors_.reserve(file_->tensors().size());
  for (const GgufFile::Tensor& tensor : file_->tensors()) {
    tensors_.push_back({tensor.name, tensor.type, tensor.dims, tensor.bytes, tensor.data});
  }
  for (size_t i = 0; i < tensors_.size(); ++i) by_name_.emplace(tensors_[i].name, i);
}

const Tensor* GgufSource::Find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

std::string GgufSource::Sha256() const {
  weft::Sha256 hash;
  for (const std::string_view contents : file_->contents()) {
    hash.Add(contents, [this](std::string_view slice) {
      Release(reinterpret_cast<const uint8_t*>(slice.data()), slice.size());
    });
  }
  return Hex(hash.Digest());
}

uint64_t GgufSource::bytes() const { return file_->file_bytes(); }

void GgufSource::Release(const uint8_t* data, uint64_t bytes) const {
  if (mapped_) ReleasePages(data, bytes);
}

void GgufSource::ReleaseAll() const {
  for (const std::string_view contents : file_->contents()) {
    Release(reinterpret_cast<const uint8_t*>(contents.data()), contents.size());
  }
}

}  // namespace weft
