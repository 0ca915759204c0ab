#!/usr/bin/env python3
"""model_validation.py URL [--key-file FILE] [--out DIR]: is a model that a gateway serves fit to be released?

Asks for code with several requests at a time and holds the answers against thresholds: at least 80 % succeed, they take
10 s on average and 15 s at most, with 3 at a time or more. A request succeeds when it is answered with 200 and the answer
has text, an end that the API knows, and no more tokens than asked for. Writes DIR/model_validation.{json,md,xml}: all figures,
a table for people, JUnit for CI. Exits 1 when a threshold is missed, 2 when nothing could be asked.
The key comes from FILE or WEFT_API_KEY."""

import argparse
import json
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree as xml

from weft_http import Gateway, key_from

PROMPTS = [
    ("python", "Write a Python function that returns the n-th Fibonacci number."),
    ("javascript", "Write a JavaScript function that removes duplicates from an array."),
    ("java", "Write a Java method that reverses a string."),
    ("go", "Write a Go function that reads a file line by line."),
    ("rust", "Write a Rust function that sums a slice of integers."),
    ("cpp", "Write a C++ function that finds the largest element of a vector."),
    ("sql", "Write an SQL query for the five customers with the most orders."),
    ("bash", "Write a shell command that counts the lines of all text files."),
    ("typescript", "Write a TypeScript interface of a user with a name and an email."),
]


def ask(gateway: Gateway, model: str, max_tokens: int, language: str, prompt: str) -> dict:
    answer = gateway.ask("/v1/chat/completions", {
        "model": model, "max_tokens": max_tokens, "temperature": 0, "messages": [{"role": "user", "content": prompt}]})
    told = {"language": language, "seconds": round(answer.seconds, 3), "status": answer.status, "tokens": 0, "error": ""}
    try:
        if answer.status != 200:
            raise ValueError(f"{answer.status}: {answer.body}")
        choice, tokens = answer.body["choices"][0], answer.body["usage"]["completion_tokens"]
        told["tokens"] = tokens
        if not choice["message"]["content"].strip():
            raise ValueError("an empty answer")
        if choice["finish_reason"] not in ("stop", "length", "content_filter"):
            raise ValueError(f"finish_reason {choice['finish_reason']!r}")
        if not 0 < tokens <= max_tokens:
            raise ValueError(f"{tokens} tokens where at most {max_tokens} were asked for")
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        told["error"] = str(error)[:500] or repr(error)
    return told


def judge(results: list[dict], limits: dict) -> list[dict]:
    """One verdict for each threshold."""
    seconds = [r["seconds"] for r in results]
    success = sum(not r["error"] for r in results) / len(results)
    return [
        {"name": "success", "value": success, "limit": limits["success"], "good": success >= limits["success"], "sign": ">="},
        {"name": "average seconds", "value": statistics.fmean(seconds), "limit": limits["average"],
         "good": statistics.fmean(seconds) <= limits["average"], "sign": "<="},
        {"name": "longest seconds", "value": max(seconds), "limit": limits["longest"], "good": max(seconds) <= limits["longest"], "sign": "<="},
    ]


def write_reports(folder: Path, report: dict):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model_validation.json").write_text(json.dumps(report, indent=1) + "\n")
    lines = [f"# Validation of {report['model']}", "", f"{len(report['results'])} requests, {report['concurrency']} at a time, "
             f"at most {report['max_tokens']} tokens each.", "", "| threshold | measured | limit | |", "|---|---|---|---|"]
    lines += [f"| {v['name']} | {v['value']:.3f} | {v['sign']} {v['limit']} | {'met' if v['good'] else 'MISSED'} |" for v in report["verdicts"]]
    lines += ["", "| language | seconds | tokens | |", "|---|---|---|---|"]
    lines += [f"| {r['language']} | {r['seconds']:.2f} | {r['tokens']} | {r['error'].replace('|', ' ') or 'ok'} |" for r in report["results"]]
    (folder / "model_validation.md").write_text("\n".join(lines) + "\n")
    suite = xml.Element("testsuite", name="model_validation", tests=str(len(report["verdicts"])),
                        failures=str(sum(not v["good"] for v in report["verdicts"])))
    for v in report["verdicts"]:
        case = xml.SubElement(suite, "testcase", classname=report["model"], name=v["name"])
        if not v["good"]:
            xml.SubElement(case, "failure", message=f"{v['value']:.3f}, not {v['sign']} {v['limit']}")
    xml.ElementTree(suite).write(folder / "model_validation.xml", encoding="utf-8", xml_declaration=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--key-file")
    parser.add_argument("--model", help="default: the first that the gateway lists")
    parser.add_argument("--requests", type=int, default=2 * len(PROMPTS))
    parser.add_argument("--concurrency", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--success", type=float, default=0.8, help="least share that succeeds (default 0.8)")
    parser.add_argument("--average", type=float, default=10, help="seconds (default 10)")
    parser.add_argument("--longest", type=float, default=15, help="seconds (default 15)")
    parser.add_argument("--out", type=Path, default=Path("build/reports"))
    arguments = parser.parse_args()
    if arguments.concurrency < 3 or arguments.requests < arguments.concurrency:
        parser.error("at least 3 at a time, and as many requests")
    # A request that takes longer than this has missed its threshold anyway.
    gateway = Gateway(arguments.url, key_from(arguments.key_file), timeout=4 * arguments.longest)
    models = gateway.ask("/v1/models")
    if models.status != 200 or not models.body.get("data"):
        print(f"model_validation: {arguments.url} lists no models: {models.status} {models.body}", file=sys.stderr)
        return 2
    model = arguments.model or models.body["data"][0]["id"]
    began = time.monotonic()
    with ThreadPoolExecutor(arguments.concurrency) as pool:
        work = [pool.submit(ask, gateway, model, arguments.max_tokens, *PROMPTS[i % len(PROMPTS)]) for i in range(arguments.requests)]
        results = [w.result() for w in work]
    limits = {"success": arguments.success, "average": arguments.average, "longest": arguments.longest}
    report = {"model": model, "concurrency": arguments.concurrency, "max_tokens": arguments.max_tokens,
              "seconds": round(time.monotonic() - began, 3), "verdicts": judge(results, limits), "results": results}
    write_reports(arguments.out, report)
    print((arguments.out / "model_validation.md").read_text())
    return 0 if all(v["good"] for v in report["verdicts"]) else 1


if __name__ == "__main__":
    sys.exit(main())
