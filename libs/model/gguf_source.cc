#include "libs/model/gguf_source.h"

#include <openssl/evp.h>

#include <array>

#include "libs/base/ids.h"
#include "libs/base/mapped_file.h"
#include "libs/base/status.h"
#include "libs/gguf/gguf.h"

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
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> hash(EVP_MD_CTX_new(),
                                                                     EVP_MD_CTX_free);
  WEFT_CHECK(EVP_DigestInit_ex(hash.get(), EVP_sha256(), nullptr) == 1);
  for (const std::string_view contents : file_->contents()) {
    WEFT_CHECK(EVP_DigestUpdate(hash.get(), contents.data(), contents.size()) == 1);
  }
  std::array<uint8_t, 32> digest{};
  unsigned int length = 0;
  WEFT_CHECK(EVP_DigestFinal_ex(hash.get(), digest.data(), &length) == 1);
  return Hex(digest);
}

uint64_t GgufSource::bytes() const { return file_->file_bytes(); }

void GgufSource::Release(const uint8_t* data, uint64_t bytes) const {
  if (mapped_) ReleasePages(data, bytes);
}

}  // namespace weft
