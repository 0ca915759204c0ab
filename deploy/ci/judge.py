#!/usr/bin/env python3
"""judge.py PROMETHEUS --pods REGEX [--bake SECONDS]: do these gateways serve well enough to get more of the load?

Asks Prometheus every --interval seconds until --bake (300) are over. Bad is, over the last --window: more than --errors (0.05) of the
answers 5xx, or a 95th percentile above --p95 (10) seconds. One bad look is enough: exit 1 at once. At the end there must have been
--least (20) requests, or the verdict is that nothing is known: exit 1 too. --queries prints what would be asked, and ends.
A Prometheus that does not answer is asked again for a minute."""

import argparse
import json
import math
import sys
import time
import urllib.parse
import urllib.request


def queries(pods: str, window: str) -> dict[str, str]:
    which = f'pod=~"{pods}"'
    total = f"sum(increase(http_requests_total{{{which}}}[{window}]))"
    failed = f'sum(increase(http_requests_total{{{which},status=~"5.."}}[{window}]))'
    return {
        "requests": total,
        "errors": f"(({failed}) or vector(0)) / ({total} > 0)",
        "p95": f"histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket{{{which}}}[{window}])))",
    }


def ask(address: str, query: str, patience: float = 60) -> float | None:
    """The one value of an instant query; None when there is none, or it is not a number."""
    url = f"{address.rstrip('/')}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    deadline = time.monotonic() + patience
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                found = json.load(response)["data"]["result"]
            break
        except (OSError, ValueError, KeyError) as error:
            if time.monotonic() >= deadline:
                raise SystemExit(f"judge: {address} does not answer: {error}") from error
            time.sleep(min(5, patience))
    value = float(found[0]["value"][1]) if found else math.nan
    return None if math.isnan(value) else value


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prometheus", nargs="?", default="")
    parser.add_argument("--pods", required=True)
    parser.add_argument("--bake", type=float, default=300)
    parser.add_argument("--interval", type=float, default=15)
    parser.add_argument("--window", default="2m")
    parser.add_argument("--errors", type=float, default=0.05)
    parser.add_argument("--p95", type=float, default=10)
    parser.add_argument("--least", type=float, default=20)
    parser.add_argument("--patience", type=float, default=60, help="seconds for a Prometheus that does not answer")
    parser.add_argument("--queries", action="store_true")
    arguments = parser.parse_args()
    asked = queries(arguments.pods, arguments.window)
    if arguments.queries:
        print(json.dumps(asked, indent=1))
        return 0
    limits = {"errors": arguments.errors, "p95": arguments.p95}
    most, deadline = 0.0, time.monotonic() + arguments.bake
    while True:
        told = {name: ask(arguments.prometheus, query, arguments.patience) for name, query in asked.items()}
        most = max(most, told["requests"] or 0)
        print("judge: " + ", ".join(f"{n} {'unknown' if v is None else f'{v:.4g}'}" for n, v in told.items()), flush=True)
        for name, limit in limits.items():
            if told[name] is not None and told[name] > limit and most >= arguments.least:
                print(f"judge: {name} {told[name]:.4g} is above {limit}", file=sys.stderr)
                return 1
        if time.monotonic() >= deadline:
            break
        time.sleep(min(arguments.interval, max(0.0, deadline - time.monotonic())))
    if most < arguments.least:
        print(f"judge: {most:.0f} requests are too few to judge by", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
