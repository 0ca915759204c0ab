"""The configurations of Fluentd and Fluent Bit, as far as they can be tried without either: they are well formed, and what they expect
of a line is what the services write."""

import json
import re
import subprocess
from datetime import datetime

import pytest
import yaml

from mesh import BIN, ROOT, free_port
from test_compose import load

LOGGING = ROOT / "deploy/logging"


@pytest.fixture(scope="module")
def lines(tmp_path_factory) -> list[dict]:
    """What a real service writes: a collector that starts and cannot listen on what is taken."""
    port = free_port()
    args = [BIN / "weft-collector", "--set", f"collector.admin_listen=127.0.0.1:{port}"]
    args += ["--set", f"collector.otlp_http_listen=127.0.0.1:{port}", "--set", "collector.otlp_grpc_listen=127.0.0.1:0"]
    done = subprocess.run(args, capture_output=True, text=True, timeout=30, cwd=tmp_path_factory.mktemp("log"))
    assert done.returncode != 0
    found = [json.loads(line) for line in (done.stdout + done.stderr).splitlines() if line.startswith("{")]
    assert found, done.stdout + done.stderr
    return found


def fluentd() -> list[tuple[str, str, dict]]:
    """(directive, argument, settings) of each section, nested ones too."""
    stack, found = [], []
    for line in (LOGGING / "fluentd.conf").read_text().splitlines():
        line = line.split(" #")[0].strip() if not line.strip().startswith("#") else ""
        if close := re.fullmatch(r"</(\w+)>", line):
            directive, argument, settings = stack.pop()
            assert directive == close[1]
            found.append((directive, argument, settings))
        elif opened := re.fullmatch(r"<(\w+)(?: (.*))?>", line):
            stack.append((opened[1], opened[2] or "", {}))
        elif line:
            name, _, value = line.partition(" ")
            stack[-1][2][name] = value.strip()
    assert not stack
    return found


def sections(text: str) -> list[tuple[str, dict]]:
    """Fluent Bit's classic format."""
    found = []
    for line in filter(str.strip, text.splitlines()):
        if head := re.fullmatch(r"\[(\w+)\]", line.strip()):
            found.append((head[1], {}))
        else:
            name, _, value = line.strip().partition(" ")
            assert value.strip(), line
            found[-1][1].setdefault(name.lower(), value.strip())
    return found


def test_fluentd_reads_the_time_that_services_write(lines):
    parse = next(s for d, _, s in fluentd() if d == "parse")
    assert parse["@type"] == "json" and parse["time_key"] in lines[0]
    # Ruby's %N is any number of digits, and its %z takes Z.
    form = parse["time_format"].replace("%N", "%f")
    for line in lines:
        datetime.strptime(line[parse["time_key"]], form)


def test_fluent_bit_reads_the_time_that_services_write(lines):
    config = yaml.safe_load((LOGGING / "fluent-bit.yaml").read_text())["config"]
    (kind, parser), = sections(config["customParsers"])
    assert (kind, parser["name"], parser["format"]) == ("PARSER", "weft", "json")
    for line in lines:  # %L is a fraction of any length
        datetime.strptime(line[parser["time_key"]], parser["time_format"].replace("%L", "%f"))
    filters = dict((s["name"], s) for _, s in sections(config["filters"]))
    assert filters["parser"]["parser"] == "weft" and filters["parser"]["key_name"] == "log"
    (_, source), = sections(config["inputs"])
    assert re.fullmatch(source["path"].replace("*", ".*"), "/var/log/containers/weft-gateway-6d4cf56db6-x2z7k_weft_weft-gateway-0123abcd.log")
    (_, out), = sections(config["outputs"])
    assert (out["name"], out["logstash_prefix"], out["tls.verify"]) == ("es", "weft", "On")


def test_lines_have_the_required_fields(lines):
    for line in lines:
        assert {"timestamp", "level", "message", "logger", "module", "function", "line"} <= set(line)


def test_a_key_in_a_message_does_not_reach_the_index():
    transform = next(s for d, _, s in fluentd() if d == "record")
    pattern = re.search(r"gsub\(/(.*)/, '(.*)'\)", transform["message"])
    told = re.sub(pattern[1].replace(r"\/", "/"), pattern[2], "sent Bearer eyJhbGciOi.J9 and weft_0123456789abcdef")
    assert told == "sent Bearer *** and weft_***"


def test_nothing_is_lost_silently_while_elasticsearch_is_away():
    buffer = next(s for d, _, s in fluentd() if d == "buffer")
    assert buffer["@type"] == "file" and buffer["retry_forever"] == "true" and buffer["total_limit_size"]
    match, = [a for d, a, _ in fluentd() if d == "match"]
    filters = [a for d, a, _ in fluentd() if d == "filter"]
    assert filters == [match, match]


def test_every_service_of_compose_sends_its_lines():
    told, mesh = load("logging.yaml"), load("compose.yaml")
    for name in mesh["services"]:
        sent = told["services"][name]["logging"]
        assert sent["driver"] == "fluentd" and sent["options"]["fluentd-async"] == "true"
        assert re.fullmatch(r"weft\.\{\{\.Name\}\}", sent["options"]["tag"])
    port = told["services"]["fluentd"]["ports"][0]
    assert port.startswith("127.0.0.1:24224") and next(s for d, _, s in fluentd() if d == "source")["port"] == "24224"
