// Reads tokenizer.model, the protobuf message ModelProto of SentencePiece, field by field: wire
// format of https://protobuf.dev/programming-guides/encoding, numbers of sentencepiece_model.proto.
#include <cstring>

#include "libs/base/status.h"
#include "libs/tokenizer/huggingface.h"
#include "libs/tokenizer/spaces.h"

namespace weft {
namespace {

constexpr size_t kMaxPieces = 1u << 22;

// One message. Nothing is copied; every length is checked against the bytes that are there.
class Message {
 public:
  struct Field {
    uint32_t number = 0;
    uint32_t wire = 0;       // 0 varint, 1 eight bytes, 2 bytes with length, 5 four bytes
    uint64_t value = 0;      // of wire 0, 1 and 5
    std::string_view bytes;  // of wire 2
    size_t offset = 0;       // in the file
  };

  // `offset`: of the first byte in the file.
  Message(std::string_view bytes, size_t offset) : bytes_(bytes), offset_(offset) {}

  bool AtEnd() const { return at_ == bytes_.size(); }

  absl::Status Next(Field& field) {
    field = {};
    field.offset = offset_ + at_;
    uint64_t key = 0;
    WEFT_RETURN_IF_ERROR(ReadVarint(key));
    field.number = static_cast<uint32_t>(key >> 3);
    field.wire = static_cast<uint32_t>(key & 7);
    if (key >> 32 != 0 || field.number == 0) return Bad("a field has no valid number");
    switch (field.wire) {
      case 0:
        return ReadVarint(field.value);
      case 1:
        return ReadFixed(8, field.value);
      case 5:
        return ReadFixed(4, field.value);
      case 2: {
        uint64_t size = 0;
        WEFT_RETURN_IF_ERROR(ReadVarint(size));
        if (size > bytes_.size() - at_) {
          return Bad(fmt::format("field {} has {} bytes, but {} are left", field.number, size,
                                 bytes_.size() - at_));
        }
        field.bytes = bytes_.substr(at_, size);
        field.offset = offset_ + at_;
        at_ += size;
        return absl::OkStatus();
      }
      default:
        return Bad(fmt::format("field {} has wire type {}", field.number, field.wire));
    }
  }

 private:
  absl::Status Bad(std::string_view what) const {
    return InvalidArgument("offset {}: {}", offset_ + at_, what);
  }

  absl::Status ReadVarint(uint64_t& out) {
    out = 0;
    for (uint32_t shift = 0; shift < 64; shift += 7) {
      if (AtEnd()) return Bad("it is cut");
      const auto byte = static_cast<uint8_t>(bytes_[at_++]);
      out |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return absl::OkStatus();
    }
    return Bad("a number has more than ten bytes");
  }

  absl::Status ReadFixed(size_t size, uint64_t& out) {
    if (bytes_.size() - at_ < size) return Bad("it is cut");
    std::memcpy(&out, bytes_.data() + at_, size);
    at_ += size;
    return absl::OkStatus();
  }

  std::string_view bytes_;
  size_t offset_;
  size_t at_ = 0;
};

// Calls visit(field) for every field; fields of an unexpected type are errors of `visit`.
template <typename Visit>
absl::Status ForEachField(std::string_view bytes, size_t offset, Visit visit) {
  Message message(bytes, offset);
  Message::Field field;
  while (!message.AtEnd()) {
    WEFT_RETURN_IF_ERROR(message.Next(field));
    WEFT_RETURN_IF_ERROR(visit(field));
  }
  return absl::OkStatus();
}

float FloatOf(const Message::Field& field) {
  const auto bits = static_cast<uint32_t>(field.value);
  float out;
  std::memcpy(&out, &bits, sizeof(out));
  return out;
}

class ModelReader {
 public:
  absl::StatusOr<TokenizerMetadata> Run(std::string_view bytes) {
    WEFT_RETURN_IF_ERROR(ForEachField(bytes, 0, [this](const Message::Field& field) {
      if (field.wire != 2) return absl::OkStatus();
      if (field.number == 1) return ReadPiece(field);
      if (field.number == 2) return ReadTrainer(field);
      if (field.number == 3) return ReadNormalizer(field);
      return absl::OkStatus();
    }));
    if (out_.tokens.empty()) return InvalidArgument("it has no pieces");
    if (model_type_ != 1 && model_type_ != 2) {
      return Unimplemented(
          "trainer_spec.model_type {} is not supported, only 1 (unigram) and 2 (BPE)", model_type_);
    }
    if (suffix_) return Unimplemented("trainer_spec.treat_whitespace_as_suffix is not supported");
    if (!escapes_) return Unimplemented("normalizer_spec.escape_whitespaces off is not supported");
    out_.model = model_type_ == 1 ? "t5" : "llama";
    const auto id = [this](int64_t value, std::optional<int32_t>& to) {
      if (value >= 0 && value < static_cast<int64_t>(out_.tokens.size())) {
        to = static_cast<int32_t>(value);
      }
    };
    id(unknown_, out_.unknown);
    id(bos_, out_.bos);
    id(eos_, out_.eos);
    id(padding_, out_.padding);
    // What Hugging Face's and llama.cpp's converters assume where no configuration says.
    out_.add_bos = model_type_ == 2 && out_.bos.has_value();
    out_.add_eos = model_type_ == 1 && out_.eos.has_value();
    return std::move(out_);
  }

 private:
  absl::Status ReadPiece(const Message::Field& piece) {
    std::string_view text;
    float score = 0;
    uint64_t kind = 1;
    WEFT_RETURN_IF_ERROR(
        ForEachField(piece.bytes, piece.offset, [&](const Message::Field& field) -> absl::Status {
          if (field.number == 1 && field.wire == 2) text = field.bytes;
          if (field.number == 2 && field.wire == 5) score = FloatOf(field);
          if (field.number == 3 && field.wire == 0) kind = field.value;
          return absl::OkStatus();
        }));
    const size_t index = out_.tokens.size();
    if (index >= kMaxPieces) return InvalidArgument("there are more than {} pieces", kMaxPieces);
    if (kind < 1 || kind > 6) {
      return InvalidArgument("pieces[{}] at offset {}: its type is {}", index, piece.offset, kind);
    }
    // The space before a user-defined piece is one that the text writes plainly.
    const bool is_user = kind == static_cast<uint64_t>(TokenKind::kUserDefined);
    out_.tokens.push_back(is_user ? UnescapeSpaces(text) : std::string(text));
    out_.scores.push_back(score);
    out_.token_type.push_back(static_cast<int32_t>(kind));
    return absl::OkStatus();
  }

  absl::Status ReadTrainer(const Message::Field& trainer) {
    return ForEachField(trainer.bytes, trainer.offset,
                        [this](const Message::Field& field) -> absl::Status {
                          if (field.wire != 0) return absl::OkStatus();
                          const auto value = static_cast<int64_t>(field.value);
                          if (field.number == 3) model_type_ = value;
                          if (field.number == 24) suffix_ = value != 0;
                          if (field.number == 40) unknown_ = value;
                          if (field.number == 41) bos_ = value;
                          if (field.number == 42) eos_ = value;
                          if (field.number == 43) padding_ = value;
                          return absl::OkStatus();
                        });
  }

  absl::Status ReadNormalizer(const Message::Field& normalizer) {
    out_.add_space_prefix = true;  // the message's defaults
    out_.remove_extra_whitespaces = true;
    return ForEachField(normalizer.bytes, normalizer.offset,
                        [this](const Message::Field& field) -> absl::Status {
                          if (field.number == 2 && field.wire == 2)
                            out_.precompiled_charsmap = field.bytes;
                          if (field.wire != 0) return absl::OkStatus();
                          if (field.number == 3) out_.add_space_prefix = field.value != 0;
                          if (field.number == 4) out_.remove_extra_whitespaces = field.value != 0;
                          if (field.number == 5) escapes_ = field.value != 0;
                          return absl::OkStatus();
                        });
  }

  TokenizerMetadata out_;
  int64_t model_type_ = 1;
  int64_t unknown_ = 0;
  int64_t bos_ = 1;
  int64_t eos_ = 2;
  int64_t padding_ = -1;
  bool suffix_ = false;
  bool escapes_ = true;
};

}  // namespace

absl::StatusOr<TokenizerMetadata> ReadSentencePieceModel(std::string_view bytes) {
  return ModelReader().Run(bytes);
}

}  // namespace weft
