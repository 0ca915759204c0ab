"""What every trace of one chat request must be, wherever it was read from."""

from typing import NamedTuple

SERVICES = {"weft-gateway", "weft-scheduler", "weft-worker", "weft-scanner"}


class Span(NamedTuple):
    id: str
    parent: str | None
    service: str
    name: str
    start: int  # nanoseconds since the epoch
    end: int


def is_whole(spans: list[Span], parent: str) -> bool:
    """Services export on their own time, and a span after the spans below it."""
    known = {span.id for span in spans} | {parent}
    return ({span.service for span in spans} >= SERVICES
            and any(span.parent == parent for span in spans)
            and all(span.parent in known for span in spans)
            and {"prefill", "decode"} <= {span.name for span in spans})


def check_trace(spans: list[Span], parent: str, slack: int = 1_000_000):
    """`parent`: the span of the client's. `slack`: nanoseconds by which clocks may disagree, as each
    process pairs its own steady and wall clock."""
    ids = {span.id: span for span in spans}
    assert len(ids) == len(spans), "a span was exported twice"
    assert {span.service for span in spans} >= SERVICES

    roots = [span for span in spans if span.parent == parent]
    assert [root.service for root in roots] == ["weft-gateway"]
    root = roots[0]
    for span in spans:
        assert span.start <= span.end
        if span is root:
            continue
        assert span.parent in ids, f"{span.name} has a parent that is not in the trace"
        # One machine: everything happens within the request. 50 ms more for spans that close after the
        # answer was sent.
        assert span.start >= root.start - slack
        assert span.end <= root.end + slack + 50_000_000
        assert span.start >= ids[span.parent].start - slack

    worker = [span for span in spans if span.service == "weft-worker"]
    above, seen = worker[0], []
    while above is not root:
        seen.append(above.service)
        above = ids[above.parent]
    assert "weft-scheduler" in seen, "the worker's spans hang below the scheduler's"
    names = {span.name for span in worker}
    assert any("prefill" in name for name in names) and any("decode" in name for name in names)
