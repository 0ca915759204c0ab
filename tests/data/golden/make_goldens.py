#!/usr/bin/env python3
"""Makes smollm2_135m.json and gemma3_270m.json: what `transformers` computes for a GGUF file dequantised
to fp32.

    pip install torch transformers accelerate gguf
    python3 tests/data/golden/make_goldens.py MODEL.gguf tests/data/golden/smollm2_135m.json
    python3 tests/data/golden/make_goldens.py gemma-3-270m-q4_k_m.gguf tests/data/golden/gemma3_270m.json 6

For every prompt: its token ids, the greedy continuation with the gap between the two largest logits
at each step, and at a few positions the largest logits and an evenly spaced sample of all of them.
"""
import hashlib
import json
import os
import sys

import torch
import transformers

CONTINUATION = 64
TOP = 8
SAMPLE_STRIDE = 1024

PROMPTS = [
    "def fibonacci(n):\n",
    "The capital of France is",
    "#include <vector>\n\nint main() {\n",
    "Once upon a time, in a small village by the sea,",
    "class Stack:\n    def __init__(self):\n        self.items = []\n\n    def push(self, item):\n",
    "Water boils at a temperature of",
    "SELECT name, COUNT(*) FROM orders\nJOIN customers ON orders.customer_id = customers.id\nWHERE",
    "The three primary colours are red,",
    "fn main() {\n    let mut total = 0;\n    for i in 0..10 {\n",
    "Photosynthesis is the process by which plants",
    "function debounce(callback, delay) {\n  let timer = null;\n  return function (...args) {\n",
    "In 1969, the first humans landed on the",
    "import numpy as np\n\ndef softmax(x):\n    \"\"\"Computes the softmax of each row.\"\"\"\n",
    "To make a good cup of tea, first",
    "public class LinkedList<T> {\n    private Node<T> head;\n    private int size;\n\n    public void add(T value) {\n",
    "The old lighthouse keeper looked out over the grey water and saw",
    "package main\n\nimport \"fmt\"\n\nfunc main() {\n",
    "<|im_start|>user\nWrite a haiku about the sea.<|im_end|>\n<|im_start|>assistant\n",
    "# Binary search\ndef binary_search(values, target):\n    low, high = 0, len(values) - 1\n"
    "    while low <= high:\n        middle = (low + high) // 2\n        if values[middle] == target:\n"
    "            return middle\n        if values[middle] < target:\n            low = middle + 1\n"
    "        else:\n            high = middle - 1\n    return -1\n\n\n# Bubble sort\ndef bubble_sort(values):\n",
    "A distributed system is a set of computers that work together and look like one to those who use"
    " it. Its parts fail one at a time, its clocks disagree, and its messages arrive late, twice or"
    " not at all. Engineers who build such systems therefore write down what must always hold, and"
    " then look for the order of events that would break it. The most common mistake is to believe"
    " that a machine which does not answer is a machine that has stopped; it may only be slow, and it"
    " may come back. The second most common mistake is",
]


def rounded(values):
    return [float(f"{v:.7g}") for v in values]


def main():
    path, out_path = sys.argv[1:3]
    prompts = PROMPTS[:int(sys.argv[3])] if len(sys.argv) > 3 else PROMPTS
    torch.manual_seed(0)
    folder, name = os.path.split(os.path.abspath(path))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=name, dtype=torch.float32, attn_implementation="eager")
    model.eval()
    cases = []
    with torch.no_grad():
        for prompt in prompts:
            ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
            tokens = list(ids)
            cache = None
            step_input = torch.tensor([ids])
            gaps = []
            positions = {0, len(ids) // 2, len(ids) - 1, len(ids) + CONTINUATION - 2}
            logits_at = []
            log_likelihoods = []  # of all tokens, by row
            row = 0
            for step in range(CONTINUATION):
                result = model(step_input, past_key_values=cache, use_cache=True)
                cache = result.past_key_values
                logits = result.logits[0].float()
                for i in range(logits.shape[0]):
                    if row in positions:
                        top = torch.topk(logits[i], TOP)
                        logits_at.append({
                            "position": row,
                            "top_ids": top.indices.tolist(),
                            "top_logits": rounded(top.values.tolist()),
                            "sample": rounded(logits[i][::SAMPLE_STRIDE].tolist()),
                        })
                    log_likelihoods.append(torch.log_softmax(logits[i], -1))
                    row += 1
                best = torch.topk(logits[-1], 2)
                gaps.append(float(f"{(best.values[0] - best.values[1]).item():.4g}"))
                token = int(best.indices[0])
                tokens.append(token)
                step_input = torch.tensor([[token]])
            following = tokens[1:]
            losses = [-row[token].item() for row, token in zip(log_likelihoods, following)]
            cases.append({
                "prompt": prompt,
                "prompt_ids": ids,
                "continuation_ids": tokens[len(ids):],
                "gaps": gaps,
                "mean_loss": float(f"{sum(losses) / len(losses):.7g}"),
                "logits": logits_at,
            })
            print(repr(tokenizer.decode(tokens))[:150], flush=True)
    with open(path, "rb") as f:
        digest = hashlib.sha256(f.read()).hexdigest()
    document = {
        "model_sha256": digest,
        "made_with": {"transformers": transformers.__version__, "torch": torch.__version__},
        "sample_stride": SAMPLE_STRIDE,
        "cases": cases,
    }
    with open(out_path, "w", encoding="utf-8") as f:
        f.write("{\n")
        for key in ("model_sha256", "made_with", "sample_stride"):
            f.write(f" {json.dumps(key)}: {json.dumps(document[key])},\n")
        f.write(' "cases": [\n')
        f.write(",\n".join("  " + json.dumps(c, ensure_ascii=True) for c in cases))
        f.write("\n ]\n}\n")


if __name__ == "__main__":
    main()
