"""Metrics, logs, the binaries' flags and the launcher."""

import ctypes.util
import json
import os
import re
import signal
import subprocess

import httpx
import pytest

from mesh import BIN, ROOT, Mesh, model_path, wait_until

BINARIES = ["weft-gateway", "weft-scheduler", "weft-worker", "weft-scanner", "weft-collector"]


@pytest.mark.parametrize("binary", BINARIES + ["weftctl"])
def test_every_binary_has_help_and_version(binary):
    for flag, word in (("--help", "--version"), ("--version", binary)):
        done = subprocess.run([BIN / binary, flag], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0 and word in done.stdout, done
    command = [BIN / binary, *(["status"] if binary == "weftctl" else []), "--no-such-flag"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and "no-such-flag" in done.stderr


@pytest.mark.parametrize("binary", BINARIES)
def test_print_config_shows_what_loads_again(binary, tmp_path):
    def printed(*args):
        done = subprocess.run([BIN / binary, *args, "--print-config"],
                              capture_output=True, text=True, timeout=30, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert printed()
    once = printed("--config", "deploy/dev/mesh.yaml")
    (tmp_path / "again.yaml").write_text(once)
    assert printed("--config", str(tmp_path / "again.yaml")) == once


def test_weftctl_prints_the_configuration_of_the_whole_mesh(tmp_path):
    command = [BIN / "weftctl", "--config", "deploy/dev/mesh.yaml", "--print-config"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT,
                          env={**os.environ, "WEFT_HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    sections = re.findall(r"^(\w+):$", done.stdout, re.M)
    assert sorted(sections) == sorted([b.removeprefix("weft-") for b in BINARIES] + ["telemetry"])
    bad = tmp_path / "bad.yaml"
    bad.write_text("gateway:\n  no_such_key: 1\n")
    done = subprocess.run([BIN / "weftctl", "--config", bad, "--print-config"],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "bad.yaml:2" in done.stderr


@pytest.mark.parametrize("binary", BINARIES)
def test_an_unknown_key_is_an_error_with_file_and_line(binary, tmp_path):
    section = binary.removeprefix("weft-")
    bad = tmp_path / "bad.yaml"
    bad.write_text(f"{section}:\n  no_such_key: 1\n")
    done = subprocess.run([BIN / binary, "--config", bad, "--print-config"], capture_output=True,
                          text=True, timeout=30)
    assert done.returncode == 2
    assert "bad.yaml:2" in done.stderr and "no_such_key" in done.stderr


def test_the_configuration_reference_is_what_the_binaries_say():
    made = subprocess.run([ROOT / "deploy/dev/make_config_reference.sh", BIN], capture_output=True,
                          text=True, check=True, timeout=60).stdout
    assert made == (ROOT / "docs/configuration.md").read_text(), (
        "run deploy/dev/make_config_reference.sh build/dev/bin > docs/configuration.md")


def test_a_gpu_that_is_not_there_is_an_error_that_says_what_was_looked_for(tmp_path):
    if ctypes.util.find_library("cuda"):
        pytest.skip("this machine has an NVIDIA driver")

    def start(*arguments):
        return subprocess.run(
            [BIN / "weft-worker", "--set", f"worker.model={model_path()}",
             "--set", f"worker.listen=unix:{tmp_path}/worker.sock",
             "--set", "worker.admin_listen=127.0.0.1:0", *arguments],
            capture_output=True, text=True, timeout=60)

    done = start("--device", "cuda:3")
    assert done.returncode == 1, done
    for word in ("device cuda:3", "libcuda.so.1", "libnvidia-ml.so.1"):
        assert word in done.stderr, done.stderr
    done = start("--device", "tpu")
    assert done.returncode == 2
    assert "worker: device: expected cpu, cuda or cuda:N, found tpu" in done.stderr
    done = start("--device", "cuda", "--numerics", "fast", "--dtype", "bf16",
                 "--kv-memory-fraction", "0.8", "--set", "worker.kv_type=fp8")
    assert done.returncode == 1 and "libcuda.so.1" in done.stderr, done
    for keys, problem in ((["--dtype", "bf16"], "worker.dtype: bf16 is for worker.device cuda"),
                          (["--set", "worker.kv_type=fp8"], "worker.kv_type: fp8 is for"),
                          (["--device", "cuda", "--set", "worker.kv_type=q8_0"],
                           "worker.kv_type: q8_0 is for"),
                          (["--kv-memory-fraction", "1.5"], "worker.kv_memory_fraction")):
        done = start(*keys)
        assert done.returncode == 2 and problem in done.stderr, done


def test_metrics_have_the_promised_names(mesh, model):
    with mesh.client() as client:
        client.post("/generate", json={"prompt": "def f():", "max_tokens": 4,
                                       "language": "python"})
        client.post("/predict", json={"model_id": "none", "input": "x"})
    url = f"http://127.0.0.1:{mesh.admin_port('gateway')}/metrics"
    # The rate is counted once a second.
    wait_until(lambda: re.search(r"^http_requests_per_second \S", httpx.get(url).text, re.M))
    gateway = httpx.get(url).text
    for name, labels in (("http_requests_total", ["method", "endpoint", "status"]),
                         ("http_requests_active", []), ("http_requests_per_second", []),
                         ("code_gen_requests_total", ["language", "status"]),
                         ("prediction_errors_total", ["model_id", "error_type"]),
                         ("model_info", ["version", "framework"]), ("active_requests", [])):
        found = re.search(rf"^{name}({{.*}})? ", gateway, re.M)
        assert found and all(f'{label}="' in found[0] for label in labels), name
    for name, label, buckets in (
            ("http_request_duration_seconds", "endpoint",
             [.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10]),
            ("model_inference_duration_seconds", "model_id", [.01, .05, .1, .25, .5, 1, 2.5, 5]),
            ("code_gen_duration_seconds", "language", [.1, .25, .5, 1, 2.5, 5, 10]),
            ("code_gen_tokens", "language", [10, 50, 100, 256, 512, 1024, 2048])):
        samples = re.findall(rf'^{name}_bucket{{.*{label}="[^"]*".*}}', gateway, re.M)
        bounds = {float(re.search('le="([^"]*)"', sample)[1]) for sample in samples}
        assert sorted(bounds) == [*buckets, float("inf")], name
    worker = httpx.get(f"http://127.0.0.1:{mesh.admin_port('worker-0')}/metrics").text
    for name in ("weft_num_requests_running", "weft_num_requests_waiting", "weft_kv_cache_usage_perc",
                 "weft_time_to_first_token_seconds_bucket", "weft_inter_token_latency_seconds_bucket",
                 "weft_batch_size_bucket", "weft_model_load_seconds", "model_memory_bytes"):
        assert re.search(rf"^{name}[{{ ]", worker, re.M), name
    for service in mesh.services():
        assert mesh.metrics(service), service


def test_admin_ports_answer_health_and_ready(mesh):
    for service in mesh.services().values():
        for page in ("health", "ready"):
            response = httpx.get(f"http://127.0.0.1:{service['admin_port']}/{page}")
            assert response.status_code == 200, (service["name"], page, response.text)


def test_the_admin_key_file_is_private(mesh):
    assert (mesh.home / "admin.key").stat().st_mode & 0o777 == 0o600
    assert mesh.output.read_text().count(mesh.admin_key) == 1, "shown once"
    for log in (mesh.home / "logs").glob("*.log"):
        assert mesh.admin_key not in log.read_text(), f"{log.name} holds the key"


def test_a_second_start_says_that_it_is_running(mesh, weftctl):
    done = weftctl("supervise", "--home", mesh.home, "--config", mesh.config_file, "--model",
                   model_path())
    assert "running here already" in done.stdout


def test_a_taken_port_is_named_with_its_owner(mesh, weftctl, tmp_path):
    done = weftctl("supervise", "--home", tmp_path, "--config", mesh.config_file, "--model",
                   model_path(), check=False)
    assert done.returncode == 1
    assert re.search(r"port 127\.0\.0\.1:\d+ is taken by weft-\S+ \(pid \d+\)", done.stderr)
    assert not (tmp_path / "admin.key").exists()


def test_two_listeners_of_one_address_are_refused_before_anything_starts(mesh, weftctl, tmp_path):
    config = json.loads(mesh.config_file.read_text())
    config["gateway"]["grpc_listen"] = config["collector"]["otlp_grpc_listen"][0]
    file = tmp_path / "mesh.yaml"
    file.write_text(json.dumps(config))
    done = weftctl("supervise", "--home", tmp_path / "home", "--config", file, "--model",
                   model_path(), check=False)
    assert done.returncode == 2
    assert "collector.otlp_grpc_listen and gateway.grpc_listen need addresses of their own" in done.stderr
    assert not list((tmp_path / "home" / "logs").iterdir())


def test_the_launcher_shows_and_stops_a_mesh(fresh_mesh):
    mesh = fresh_mesh(workers=1)
    environment = {**os.environ, "WEFT_HOME": str(mesh.home), "WEFT_SKIP_PACKAGES": "1"}

    def launcher(*args):
        return subprocess.run([ROOT / "weft", *args], env=environment, capture_output=True,
                              text=True, timeout=90)

    names = ("collector", "scanner", "worker-0", "scheduler", "gateway")
    status = launcher("status")
    assert status.returncode == 0 and all(name in status.stdout for name in names), status
    status = subprocess.run([BIN / "weftctl", "status", "--json"], env=environment,
                            capture_output=True, text=True, timeout=30)
    assert {s["name"]: s["state"] for s in json.loads(status.stdout)["services"]} == {
        name: "ready" for name in names}
    assert "running already" in (up := launcher("up")).stdout + up.stderr and up.returncode == 0

    logs = subprocess.Popen([ROOT / "weft", "logs", "gateway"], env=environment, text=True,
                            stdout=subprocess.PIPE)
    try:
        assert any("listening" in line or '"level"' in line for line in [logs.stdout.readline()
                                                                         for _ in range(2)])
    finally:
        logs.terminate()
        logs.wait(10)
    none = launcher("logs", "nobody")
    assert none.returncode != 0 and "worker-0" in none.stderr

    down = launcher("down")
    assert down.returncode == 0 and "stopped" in down.stdout
    assert mesh.process.wait(10) == 0
    again = launcher("status")
    assert again.returncode == 3 and "nothing runs" in again.stdout


@pytest.mark.parametrize("command, word", [
    (["up", "--workers", "0"], "--workers"), (["up", "--config", "/no/such.yaml"], "/no/such.yaml"),
    (["up", "--sideways"], "--sideways"), (["test", "unit", "e2e"], "one kind"),
    (["build", "--preset", "none"], "none"), (["bench", "none"], "none"), (["weave"], "weave"),
    (["down", "now"], "no arguments"), (["up", "--config"], "--config needs a file"),
    (["test", "-R"], "-R needs a regular expression")])
def test_the_launcher_names_what_it_does_not_know(command, word, tmp_path):
    done = subprocess.run([ROOT / "weft", *command], capture_output=True, text=True, timeout=30,
                          env={**os.environ, "WEFT_HOME": str(tmp_path)})
    assert done.returncode != 0 and word in done.stderr, done


@pytest.mark.parametrize("preset", ["release", "bench"])
def test_what_is_built_without_tests_configures(preset, tmp_path):
    # `./weft up` and `./weft bench` build these; this suite builds another one.
    done = subprocess.run(["cmake", "--preset", preset, "-B", tmp_path], cwd=ROOT, text=True,
                          capture_output=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_launcher_lists_commands_and_benchmarks():
    shown = subprocess.run([ROOT / "weft", "help"], capture_output=True, text=True, timeout=30)
    for command in ("up", "down", "status", "logs", "test", "build", "bench"):
        assert f"./weft {command}" in shown.stdout
    benches = subprocess.run([ROOT / "weft", "bench"], capture_output=True, text=True, timeout=30)
    assert "compare/cpu" in benches.stdout and '"""' not in benches.stdout


def test_a_service_that_dies_is_started_again(fresh_mesh):
    mesh = fresh_mesh(workers=1)
    for name in ("scanner", "collector", "scheduler", "gateway"):
        mesh.kill(name, signal.SIGKILL)
    wait_until(lambda: all(s["restarts"] == 1 for n, s in mesh.services().items()
                           if n != "worker-0") and mesh.all_ready(), 40)
    with mesh.client() as client:
        def works():
            model = client.get("/v1/models").json()["data"]
            return model and client.post("/v1/completions", json={
                "model": model[0]["id"], "prompt": "x", "max_tokens": 2}).status_code == 200

        wait_until(works, 20)


def test_a_detached_mesh_returns_when_ready_and_stops(tmp_path):
    mesh = Mesh(workers=1, name="weft's home ")  # the printed lines are to be pasted as they are
    try:
        done = subprocess.run(
            mesh.command("supervise", "--detach", "--config", str(mesh.config_file), "--model",
                         str(model_path())), capture_output=True, text=True, timeout=120, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        assert mesh.url in done.stdout and mesh.admin_key in done.stdout
        lines = re.findall(r"^  ((?:curl|python3) .*)$", done.stdout, re.M)
        assert [line.split()[0] for line in lines] == ["curl", "python3"]
        streamed, whole = (subprocess.run(["bash", "-c", line], capture_output=True, text=True,
                                          timeout=60) for line in lines)
        assert streamed.stdout.rstrip().endswith("data: [DONE]"), streamed
        assert whole.returncode == 0 and whole.stdout.strip(), whole
        with mesh.client() as client:
            assert client.get("/v1/models").status_code == 200
    finally:
        subprocess.run(mesh.command("down"), timeout=90, check=True)
        mesh.clean_up()


def test_a_bad_configuration_starts_nothing(tmp_path, weftctl):
    bad = tmp_path / "bad.yaml"
    bad.write_text("gateway:\n  databse: /x\n")
    done = weftctl("supervise", "--home", tmp_path / "home", "--config", bad, "--model",
                   model_path(), check=False)
    assert done.returncode == 2
    assert "bad.yaml:2" in done.stderr and "did you mean 'database'" in done.stderr
    assert not (tmp_path / "home/logs/gateway.log").exists()


def test_several_gateways_share_the_keys_of_a_file(fresh_mesh, tmp_path, weftctl):
    file = tmp_path / "keys.json"
    admin = weftctl("keys", "generate", "--name", "first", "--role", "admin", "--file", file).stdout.strip()
    user = weftctl("keys", "generate", "--name", "ci", "--tenant", "a", "--requests-per-minute", 100, "--file", file).stdout.strip()
    assert file.stat().st_mode & 0o077 == 0
    assert admin not in file.read_text() and user not in file.read_text()
    for _ in range(2):  # each with a database of its own
        mesh = fresh_mesh(workers=1, extra={"gateway": {"keys_file": str(file)}})
        with mesh.client(headers={"Authorization": f"Bearer {user}"}) as client:
            assert client.get("/v1/models").status_code == 200
            assert client.get("/v1/keys").status_code == 403
        with mesh.client(headers={"Authorization": f"Bearer {admin}"}) as client:
            listed = {key["name"]: key for key in client.get("/v1/keys").json()["data"]}
            assert listed["ci"]["tenant"] == "a" and listed["ci"]["requests_per_minute"] == 100
            refused = client.delete(f"/v1/keys/{listed['ci']['id']}")
            assert refused.status_code >= 400
        mesh.stop(expect_clean=True)


def test_a_bad_keys_file_is_named_and_nothing_starts(fresh_mesh, tmp_path):
    file = tmp_path / "keys.json"
    file.write_text('{"keys": [{"id": "x"}]}')
    with pytest.raises(RuntimeError, match=r"keys\[0\]"):
        fresh_mesh(workers=1, extra={"gateway": {"keys_file": str(file)}})


def test_every_service_answers_its_own_healthcheck(mesh):
    for binary in BINARIES:
        command = [BIN / binary, "--config", mesh.config_file, "--healthcheck"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, (binary, done.stderr)
        done = subprocess.run([*command[:-1], "--healthcheck=http://127.0.0.1:1/health"], capture_output=True, text=True,
                              timeout=30)
        assert done.returncode == 1 and "does not answer" in done.stderr
