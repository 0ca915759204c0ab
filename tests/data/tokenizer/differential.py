#!/usr/bin/env python3
"""Weft's tokenizer beside Hugging Face's `tokenizers` and SentencePiece on random texts.

  differential.py ANSWERS_BINARY [--texts 100000] [--only NAME] [--write DIR]

For each pre-tokeniser and each SentencePiece model a small vocabulary is trained here, written as
the file that models come with (tokenizer.json or tokenizer.model), and read by both sides. Texts are
random Unicode, white space, emoji, code, control tokens and invalid bytes. Ids and decoded texts must
be equal. Texts that are not UTF-8, which the references do not take, must decode to what Python makes
of the bytes: U+FFFD for each invalid part or, in SentencePiece's manner, for each byte of it. Prints one line for each tokenizer and exits with 1 on a difference.

Needs: pip install tokenizers sentencepiece. The C++ side: tests/unit/tokenizer/tokenizer_answers.cc
"""
import argparse
import codecs
import collections
import json
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import processors

import make_goldens as goldens

HERE = pathlib.Path(__file__).parent
VOCAB = 700
CONTROL = ["<|end|>", "<|user|>", "<s>", "</s>"]


def corpus():
    files = sorted(p for folder in ("libs", "docs", "tests/unit") for p in (HERE.parents[2] / folder).rglob("*")
                   if p.suffix in (".cc", ".h", ".md", ".py", ".json"))
    lines = [line for p in files[::7] for line in p.read_text(encoding="utf-8").splitlines()]
    return lines[::5][:12000] + json.loads((HERE / "texts.json").read_text(encoding="utf-8"))


def common_only(lines):
    """Vocabularies of characters stay small, and the texts hold many that they lack."""
    common = {c for c, _ in collections.Counter("".join(lines)).most_common(160)}
    return ["".join(c for c in line if c in common) for line in lines]


def byte_level(pre, nfc):
    def train(lines, folder):
        tokenizer = Tokenizer(models.BPE(ignore_merges=pre in ("llama-bpe", "tekken")))
        tokenizer.pre_tokenizer = goldens.PRE[pre]
        tokenizer.normalizer = normalizers.NFC() if nfc else None
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.train_from_iterator(lines, trainers.BpeTrainer(
            vocab_size=VOCAB, show_progress=False, special_tokens=CONTROL,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
        tokenizer.add_tokens([AddedToken("<tool>", normalized=False)])
        tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
        return HfReference(tokenizer)
    return train


def hf_metaspace(kind, scheme):
    """Llama's and Gemma's tokenizer.json: BPE over characters with byte fallback."""
    def train(lines, folder):
        if kind == "unigram":
            tokenizer = Tokenizer(models.Unigram())
            trainer = trainers.UnigramTrainer(vocab_size=VOCAB, show_progress=False, unk_token="<unk>",
                                              special_tokens=["<unk>"] + CONTROL)
        else:
            tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
            bytes_ = [f"<0x{b:02X}>" for b in range(256)]
            trainer = trainers.BpeTrainer(vocab_size=VOCAB + 256, show_progress=False,
                                          special_tokens=["<unk>"] + CONTROL + bytes_, limit_alphabet=300)
        if scheme == "prepend":
            tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        elif scheme == "gemma":
            tokenizer.normalizer = normalizers.Replace(" ", "▁")
            tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
        else:
            split = scheme.endswith("split")
            tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme.split("-")[0], split=split)
        train_lines = [w for line in common_only(lines) for w in line.replace(" ", " \x00").split("\x00")]
        tokenizer.train_from_iterator(train_lines, trainer)
        # The trainer makes the bytes special: as in the published files they are plain pieces.
        data = json.loads(tokenizer.to_str())
        data["added_tokens"] = [t for t in data["added_tokens"] if not t["content"].startswith("<0x")]
        tokenizer = Tokenizer.from_str(json.dumps(data))
        steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        if scheme != "gemma" and scheme != "never":
            steps.append(decoders.Strip(" ", 1, 0))
        tokenizer.decoder = decoders.Sequence(steps)
        if kind != "unigram":
            tokenizer.post_processor = processors.TemplateProcessing(
                single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))])
        tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
        return HfReference(tokenizer)
    return train


def sentencepiece_model(model_type, **options):
    def train(lines, folder):
        prefix = folder / "tokenizer"
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(common_only(lines)), model_prefix=str(prefix), model_type=model_type,
            vocab_size=VOCAB + 256, minloglevel=2, num_threads=1, input_sentence_size=4000,
            user_defined_symbols=["<tool>"], control_symbols=["<|end|>", "<|user|>"],
            hard_vocab_limit=False, unk_surface="", **options)
        (folder / "tokenizer.vocab").unlink()
        return SpReference(sentencepiece.SentencePieceProcessor(str(prefix) + ".model"))
    return train


class HfReference:
    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.tokenizer.encode_special_tokens = True

    def __call__(self, text):
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids, self.tokenizer.decode(ids)


class SpReference:
    def __init__(self, processor):
        self.processor = processor

    def __call__(self, text):
        ids = self.processor.encode(text)
        return ids, self.processor.decode(ids)


TOKENIZERS = {name: byte_level(name, name in ("qwen2", "qwen35")) for name in goldens.PRE if name != "default"}
TOKENIZERS |= {
    "hf-llama-prepend": hf_metaspace("bpe", "prepend"),
    "hf-llama-first": hf_metaspace("bpe", "first"),
    "hf-llama-always": hf_metaspace("bpe", "always"),
    "hf-llama-split": hf_metaspace("bpe", "always-split"),
    "hf-gemma": hf_metaspace("bpe", "gemma"),
    "hf-unigram": hf_metaspace("unigram", "always"),
    "sp-llama": sentencepiece_model("bpe", byte_fallback=True, normalization_rule_name="identity",
                                    remove_extra_whitespaces=False, split_digits=True,
                                    allow_whitespace_only_pieces=True),
    "sp-gemma": sentencepiece_model("bpe", byte_fallback=True, normalization_rule_name="identity",
                                    remove_extra_whitespaces=False, add_dummy_prefix=False,
                                    allow_whitespace_only_pieces=True),
    "sp-bpe-unk": sentencepiece_model("bpe", normalization_rule_name="identity"),
    "sp-unigram": sentencepiece_model("unigram", normalization_rule_name="nmt_nfkc"),
    "sp-unigram-bytes": sentencepiece_model("unigram", byte_fallback=True, normalization_rule_name="identity",
                                            remove_extra_whitespaces=False),
}


# How each invalid byte of a text comes back: vocabularies with byte tokens keep them all. Those that
# normalize or lack characters are not compared.
codecs.register_error("each", lambda error: ("\ufffd" * (error.end - error.start), error.end))
BROKEN = {name: "each" for name in TOKENIZERS if name.startswith(("hf-llama", "hf-gemma", "sp-llama", "sp-gemma"))}
BROKEN |= {"sp-unigram-bytes": "each", "qwen2": None, "qwen35": None}


def make_texts(count, seed):
    goldens.rng = random.Random(seed)
    rng = goldens.rng
    goldens.SPECIALS.extend(CONTROL + ["<tool>", "<unk>", "▁", "<0x41>"])
    texts = []
    for i in range(count):
        text = goldens.random_text()
        if i % 20 == 19:  # not UTF-8
            data = bytearray(text.encode())
            for _ in range(rng.randrange(1, 4)):
                data.insert(rng.randrange(len(data) + 1), rng.randrange(0x80, 0x100))
            texts.append(bytes(data))
        else:
            texts.append(text.encode())
    return texts


def ask(binary, folder, texts):
    """(ids, decoded) of every text."""
    packed = b"".join(struct.pack("<I", len(t)) + t for t in texts)
    run = subprocess.run([binary, str(folder), "bare"], input=packed, capture_output=True)
    if run.returncode != 0:
        sys.exit(f"{binary} {folder}: {run.stderr.decode()}")
    out, at, answers = run.stdout, 0, []
    for _ in texts:
        (count,) = struct.unpack_from("<I", out, at)
        ids = list(struct.unpack_from(f"<{count}i", out, at + 4))
        at += 4 + 4 * count
        (size,) = struct.unpack_from("<I", out, at)
        answers.append((ids, out[at + 4:at + 4 + size].decode()))
        at += 4 + size
    return answers


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=20260412)
    parser.add_argument("--only", action="append")
    parser.add_argument("--write", type=pathlib.Path, metavar="DIR",
                        help="leave the trained tokenizers there with answers.json, for the unit tests")
    options = parser.parse_args()
    lines = corpus()
    texts = make_texts(options.texts, options.seed)
    failed = False
    for name, train in TOKENIZERS.items():
        if options.only and name not in options.only:
            continue
        folder = (options.write or pathlib.Path(tempfile.mkdtemp())) / name
        folder.mkdir(parents=True, exist_ok=True)
        reference = train(lines, folder)
        if options.write:
            sample = json.loads((HERE / "texts.json").read_text(encoding="utf-8"))[::20]
            rows = [json.dumps(reference(text), ensure_ascii=False, separators=(",", ":")) for text in sample]
            (folder / "answers.json").write_text("[\n" + ",\n".join(rows) + "\n]\n", encoding="utf-8")
            continue
        answers = ask(options.binary, folder, texts)
        valid = wrong_ids = wrong_text = broken = wrong_broken = 0
        shown = 0
        for text, (ids, decoded) in zip(texts, answers):
            try:
                string = text.decode()
            except UnicodeDecodeError:
                broken += 1
                handler = BROKEN.get(name, "replace" if name in goldens.PRE else None)
                expected = text.decode(errors=handler or "replace")
                if handler == "each":
                    expected = expected.replace("▁", " ")
                    if name in ("hf-llama-first", "hf-llama-always", "hf-llama-split"):
                        expected = expected.removeprefix(" ")  # it served as the space before the text
                if handler and decoded != expected:
                    wrong_broken += 1
                    print(f"  {name}: {text!r} decodes to {decoded!r}")
                continue
            if name == "hf-unigram" and any(c in string for c in CONTROL + ["<unk>"]):
                continue  # there the reference finds control tokens in text whatever it is told
            valid += 1
            expected_ids, expected_text = reference(string)
            wrong_ids += ids != expected_ids
            wrong_text += decoded != expected_text
            if (ids != expected_ids or decoded != expected_text) and shown < 3:
                shown += 1
                print(f"  {name}: {string!r}\n    {ids} {decoded!r}\n    {expected_ids} {expected_text!r}")
        print(f"{name}: {valid} texts, {wrong_ids} differ in ids, {wrong_text} in decoding; "
              f"{broken} are not UTF-8, {wrong_broken} differ", flush=True)
        failed |= wrong_ids + wrong_text + wrong_broken > 0
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
