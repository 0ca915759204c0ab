"""Clients that chat over and over with an OpenAI endpoint inside the node's network, until their standard input closes. Prints one JSON
line: requests, failed, the first failures. Run as a program, because it has to be started in another network namespace.

  node_load.py URL KEY MODEL CLIENTS"""

import json
import sys
import threading
import time
import urllib.request


def chat(url: str, key: str, model: str, tokens: int = 12) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": "Write a Python function that adds two numbers."}],
            "max_tokens": tokens, "temperature": 0, "stream": True}
    request = urllib.request.Request(f"{url}/v1/chat/completions", data=json.dumps(body).encode(),
                                     headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
    text, done = "", False
    with urllib.request.urlopen(request, timeout=120) as response:
        for line in response:
            if line.startswith(b"data: [DONE]"):
                done = True
            elif line.startswith(b"data: "):
                event = json.loads(line[6:])
                if "error" in event:
                    raise ValueError(event["error"])
                text += "".join(c["delta"].get("content") or "" for c in event["choices"])
    if not done or not text:
        raise ValueError(f"the stream ended early after {text!r}")
    return text


def main() -> int:
    url, key, model, clients = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    over, lock = threading.Event(), threading.Lock()
    told = {"requests": 0, "failed": 0, "failures": []}

    def client():
        while not over.is_set():
            try:
                chat(url, key, model)
                with lock:
                    told["requests"] += 1
            except Exception as error:  # noqa: BLE001  whatever it is, the request failed
                with lock:
                    told["requests"] += 1
                    told["failed"] += 1
                    told["failures"] = (told["failures"] + [f"{time.strftime('%X')} {error!r}"])[:5]
                time.sleep(0.2)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    over.set()
    for thread in threads:
        thread.join()
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
