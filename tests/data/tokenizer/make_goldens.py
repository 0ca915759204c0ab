#!/usr/bin/env python3
"""Writes the goldens of the tokenizer tests with Hugging Face's `tokenizers`.

  texts.json          the texts, among them random Unicode, white space, code, emoji
  pieces_<pre>.json   for each of the first texts the byte lengths of its pieces
  nfc.json            texts and their normalization form C
  normal_forms.json   texts and their forms C, D, KC, KD
  smollm2_ids.json    for every text the ids, with control tokens parsed and as plain text

The pre-tokenisers are built here from the expressions that each family publishes in its
tokenizer.json. The vocabulary and the merges are those of the default model's GGUF file.

Needs: pip install tokenizers gguf. Run from the repository root: make_goldens.py MODEL.gguf
"""
import json
import pathlib
import random
import sys

import gguf
import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers.pre_tokenizers import ByteLevel, Digits, Punctuation, Sequence, Split

OUT = pathlib.Path(__file__).parent
PIECE_TEXTS = 1500
rng = random.Random(20260131)


def isolated(pattern):
    return Split(Regex(pattern), "isolated")


LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CASED = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+SUFFIX"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*SUFFIX"
         r"|\p{N}DIGITS| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN35 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
SEED_CODER = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+"
              r"|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK_V3 = (r"[!" '"' r"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
               r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK_LETTERS = (
    "\\s?["
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-"
    "\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-"
    "\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf"
    "\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-"
    "\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc"
    "\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115"
    "\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e"
    "\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-"
    "\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a"
    "\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-"
    "\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"
    "]+")
BYTES = ByteLevel(add_prefix_space=False, use_regex=False)
PRE = {
    "gpt-2": ByteLevel(add_prefix_space=False, use_regex=True),
    "smollm": Sequence([Digits(individual_digits=True),
                        ByteLevel(add_prefix_space=False, use_regex=True)]),
    "llama-bpe": Sequence([isolated(LLAMA3), BYTES]),
    "qwen2": Sequence([isolated(LLAMA3.replace("{1,3}", "")), BYTES]),
    "deepseek-coder": Sequence([isolated(r"[\r\n]"), isolated(r"\s?\p{L}+"), isolated(r"\s?\p{P}+"),
                                isolated("[一-龥ࠀ-一가-퟿]+"), Digits(individual_digits=True), BYTES]),
    "default": Sequence([isolated(r"[\p{P}\$\+<=>\^~\|]+"), isolated(GPT2), isolated(r"\p{N}+"),
                         isolated("[0-9][0-9][0-9]"), BYTES]),
    "qwen35": Sequence([isolated(QWEN35), BYTES]),
    "seed-coder": Sequence([isolated(SEED_CODER), BYTES]),
    "deepseek-llm": Sequence([isolated(r"[\r\n]"), isolated(DEEPSEEK_LETTERS),
                              isolated(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"), isolated(r"\s+$"),
                              isolated("[一-龥ࠀ-一가-퟿]+"), Digits(individual_digits=True), BYTES]),
    "deepseek-v3": Sequence([isolated(r"\p{N}{1,3}"), isolated("[一-龥぀-ゟ゠-ヿ]+"), isolated(DEEPSEEK_V3), BYTES]),
    "falcon": Sequence([Punctuation("contiguous"), ByteLevel(add_prefix_space=False, use_regex=True),
                        Digits(individual_digits=False), isolated("[0-9][0-9][0-9]")]),
    "gpt-4o": Sequence([isolated(CASED.replace("SUFFIX", "(?i:'s|'t|'re|'ve|'m|'ll|'d)?")
                                 .replace("DIGITS", "{1,3}")), BYTES]),
    "tekken": Sequence([isolated(CASED.replace("SUFFIX", "").replace("DIGITS", "")), BYTES]),
}

WORDS = ("the quick brown fox def class return import self async await struct template typename "
         "I'm you're DON'T it's we'll they'd I'VE 'S 'Re naïve façade Straße Ελλάδα Россия "
         "كتاب שלום हिन्दी ไทย 日本語 中文字符 한국어 éclair İstanbul ǅ ﬁ ß Å").split()
CODE = ["for (int i = 0; i < n; ++i) {\n  sum += a[i] * 2.5e-3f;\n}\n",
        "def f(x: int) -> str:\n\treturn f\"{x!r:>10}\"  # comment\n",
        "SELECT * FROM t WHERE a >= 10 AND b <> 'x''y';\r\n", "#include <vector>\n\n\n\nint main() {}",
        "x = {'a': [1, 2, 3], \"b\": None}\n\n", "if(a&&b||!c){return a?b:c;}//end", "\\frac{1}{2}$$\n",
        "https://example.org/a_b-c?x=1&y=%20#z", "<div class=\"a\">&nbsp;</div>\n", "0x1F 1_000 3.14 1e10"]
SPACES = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", "\t\t", " \n", "\n ", " \t ", "\u00a0", "\u3000",
          "\u2028", "\x0b", "\x0c", "\x85", "\u200b", "\ufeff", "                    ", "\n\n\n  "]
EMOJI = ["😀", "👨‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "❤️", "🇩🇪", "e\u0301", "a\u0308\u0323", "🤖"]
NUMBERS = ["0", "7", "12", "123", "1234", "12345678", "3.14", "1,000,000", "٣٤٥", "Ⅷ", "½", "²", "一二三",
           "๑๒", "𝟘𝟙", "1st", "v2.0.1"]
APOSTROPHES = ["'s", "'S", "'ll", "'LL", "'lL", "'re", "'Ve", "'d", "'m", "'M", "'t", "''s", "'x", "' s",
               "'ſ", "’s", "'", "'l", "'r", "'\u0130"]
SPECIALS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<repo_name>", "<file_sep>", "<|im_", "<|", "|>"]
PUNCT = list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") + ["...", "--", "=>", "::", "«", "»", "。", "、", "—", "€", "∑"]
POOLS = [WORDS, WORDS, SPACES, SPACES, EMOJI, NUMBERS, APOSTROPHES, PUNCT, SPECIALS]


def random_char():
    while True:
        c = rng.choice((rng.randrange(0x20), rng.randrange(0x80), rng.randrange(0x800),
                        rng.randrange(0x10000), rng.randrange(0x20000), rng.randrange(0x110000)))
        if not 0xD800 <= c < 0xE000:
            return chr(c)


def random_text():
    kind = rng.random()
    if kind < 0.15:
        return "".join(random_char() for _ in range(rng.randrange(1, 24)))
    if kind < 0.25:
        cut = rng.choice(CODE)
        return cut[rng.randrange(len(cut) // 2):] + rng.choice(SPACES) + rng.choice(CODE)
    if kind < 0.45:
        return " ".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 9)))
    if kind < 0.5:
        return rng.choice(("a", " ", "é", "\n", "ab", "0", "🤖")) * rng.randrange(1, 90)
    return "".join(rng.choice(rng.choice(POOLS)) for _ in range(rng.randrange(1, 16)))


def write(name, rows):
    lines = ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)
    (OUT / name).write_text("[\n" + lines + "\n]\n", encoding="utf-8")


def main():
    texts = [""] + CODE + WORDS + SPACES + EMOJI + NUMBERS + APOSTROPHES + SPECIALS
    seen = set(texts)
    while len(texts) < 3000:
        text = random_text()
        if text not in seen:
            seen.add(text)
            texts.append(text)
    write("texts.json", texts)

    for name, pre in PRE.items():
        rows = []
        for text in texts[:PIECE_TEXTS]:
            # Every byte of a piece is spelled as one character.
            rows.append([len(piece) for piece, _ in pre.pre_tokenize_str(text)])
            assert sum(rows[-1]) == len(text.encode()), (name, text)
        write(f"pieces_{name}.json", rows)

    marks = [chr(c) for c in (*range(0x300, 0x345), 0x1100, 0x1161, 0x1162, 0x11A8, 0x11C2, 0xAC00, 0xAC1C,
                              0x5B0, 0x5BC, 0x64B, 0x93C, 0x9BE, 0x9C7, 0x1112, 0x3099, 0x1B35, 0x11131)]
    bases = list("aAeEoOuUsSzIiNc \n") + [chr(c) for c in (
        0x1EA, 0x212B, 0x2126, 0x1E9B, 0x958, 0xFB1D, 0xF900, 0x2F800, 0x915, 0x9C7, 0x3046, 0x1B05,
        0x11131, 0x1100, 0x1112, 0xAC00, 0x384, 0x390, 0x1FEE, 0x344, 0x1D15E, 0x2ADC, 0x0344)]
    rows = []
    for _ in range(600):
        text = "".join(rng.choice(rng.choice((bases, marks, marks))) for _ in range(rng.randrange(1, 7)))
        rows.append([text, normalizers.NFC().normalize_str(text)])
    rows += [[t, normalizers.NFC().normalize_str(t)] for t in texts if normalizers.NFC().normalize_str(t) != t]
    write("nfc.json", rows)
    forms = [normalizers.NFC(), normalizers.NFD(), normalizers.NFKC(), normalizers.NFKD()]
    odd = "ﬁ①²½Ⅷ㌀㍿ＡﾊﾟºÅΩẛ̣ǅ…　ﷺ가\u00a8\u0385\u2126\u1e9b\u0323\U0001d7d8\U000113cf"
    samples = [rng.choice(odd) + rng.choice(marks) + rng.choice(odd) + rng.choice(bases) for _ in range(200)]
    write("normal_forms.json", [[t] + [f.normalize_str(t) for f in forms] for t in samples + texts[::10]])

    fields = gguf.GGUFReader(sys.argv[1]).fields
    vocab = fields["tokenizer.ggml.tokens"].contents()
    kinds = fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    reference = tokenizers.Tokenizer(models.BPE({t: i for i, t in enumerate(vocab)}, merges))
    reference.pre_tokenizer = PRE["smollm"]
    reference.decoder = decoders.ByteLevel()
    reference.add_special_tokens([AddedToken(t, normalized=False) for t, k in zip(vocab, kinds) if k == 3])
    rows = []
    for text in texts:
        reference.encode_special_tokens = False
        parsed = reference.encode(text, add_special_tokens=False).ids
        reference.encode_special_tokens = True
        plain = reference.encode(text, add_special_tokens=False).ids
        rows.append([parsed] if parsed == plain else [parsed, plain])
    write("smollm2_ids.json", rows)


if __name__ == "__main__":
    main()
