#!/usr/bin/env python3
"""smoke.py URL [--key-file FILE]: a gateway is up and serves: health, a refusal without a key, the models, a chat, a stream.
Prints one line a check; exits 1 with the first that fails. The key comes from FILE or WEFT_API_KEY."""

import argparse
import json
import sys
import time

from weft_http import Gateway, key_from


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--key-file")
    parser.add_argument("--model", help="default: the first that the gateway lists")
    parser.add_argument("--wait", type=float, default=0, metavar="SECONDS", help="for /health to be healthy, with a model, first")
    parser.add_argument("--timeout", type=float, default=60, metavar="SECONDS", help="for each request")
    arguments = parser.parse_args()
    gateway = Gateway(arguments.url, key_from(arguments.key_file), arguments.timeout)

    def check(name: str, good: bool, told: object):
        print(f"smoke: {name}: {'ok' if good else f'FAILED: {told}'}", flush=True)
        if not good:
            raise SystemExit(1)

    def healthy() -> bool:
        told = health.body if health.status == 200 and isinstance(health.body, dict) else {}
        return told.get("status") == "healthy" and told.get("model_loaded") is True

    deadline = time.monotonic() + arguments.wait
    health = gateway.ask("/health")
    while not healthy() and time.monotonic() < deadline:
        time.sleep(0.5)
        health = gateway.ask("/health")
    check("health", healthy(), f"{health.status} {health.body}")
    refused = Gateway(arguments.url, "", arguments.timeout).ask("/v1/models")
    check("no key is refused", refused.status == 401, f"{refused.status} {refused.body}")
    models = gateway.ask("/v1/models")
    check("models", models.status == 200 and models.body.get("data"), f"{models.status} {models.body}")
    model = arguments.model or models.body["data"][0]["id"]
    body = {"model": model, "max_tokens": 8, "temperature": 0, "messages": [{"role": "user", "content": "Say hello."}]}
    chat = gateway.ask("/v1/chat/completions", body)
    text = chat.body["choices"][0]["message"]["content"] if chat.status == 200 else ""
    check(f"chat with {model}", text, f"{chat.status} {chat.body}")
    try:
        events = gateway.events("/v1/chat/completions", {**body, "stream": True})
    except OSError as error:
        events = [str(error)]
    streamed = "".join(c["delta"].get("content") or "" for e in events if e.startswith("{") for c in json.loads(e).get("choices", []))
    check("stream", events and events[-1] == "[DONE]" and streamed == text, events[-3:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
