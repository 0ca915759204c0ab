"""A real Kubernetes API for tests: etcd, kube-apiserver and the controllers that weftctl rollout relies on, started on loopback. There is
no kubelet: the test says what becomes of pods, through their status as a kubelet would. Built by deploy/tools/build_kubernetes.sh."""

import json
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from mesh import ROOT, free_port, wait_until

CONTROLLERS = "deployment,replicaset,job,garbagecollector,endpointslice,statefulset,namespace,serviceaccount"
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager")


def programs() -> Path:
    done = subprocess.run([ROOT / "deploy/tools/build_kubernetes.sh", *PROGRAMS], capture_output=True, text=True, timeout=6000)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


class KubeApi:
    def __init__(self, folder: Path):
        self.folder, self.bin, self.running = folder, programs(), {}
        self.port, self.etcd_port, self.peer_port = free_port(), free_port(), free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.behaviour: dict[str, str] = {}  # image -> good, crash, unready
        self.ends = threading.Event()
        (folder / "tokens.csv").write_text('admin-token,admin,admin,"system:masters"\n')
        subprocess.run(["openssl", "genrsa", "-out", folder / "sa.key", "2048"], check=True, capture_output=True)
        subprocess.run(["openssl", "rsa", "-in", folder / "sa.key", "-pubout", "-out", folder / "sa.pub"], check=True, capture_output=True)

    def spawn(self, name, *arguments):
        log = open(self.folder / f"{name}.log", "a")
        self.running[name] = subprocess.Popen([str(self.bin / name), *map(str, arguments)], stdout=log, stderr=log, cwd=self.folder)

    def start(self):
        etcd, peer = f"http://127.0.0.1:{self.etcd_port}", f"http://127.0.0.1:{self.peer_port}"
        self.spawn("etcd", "--data-dir", self.folder / "etcd", "--listen-client-urls", etcd, "--advertise-client-urls", etcd,
                   "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}")
        self.start_api()
        for name, verify in (("kubeconfig", True), ("insecure", False)):
            trust = f"certificate-authority: certs/apiserver.crt" if verify else "insecure-skip-tls-verify: true"
            (self.folder / name).write_text(
                f"kind: Config\ncurrent-context: x\ncontexts: [{{name: x, context: {{cluster: c, user: u, namespace: default}}}}]\n"
                f"clusters: [{{name: c, cluster: {{server: '{self.url}', {trust}}}}}]\nusers: [{{name: u, user: {{token: admin-token}}}}]\n")
        config = self.folder / "insecure"
        self.spawn("kube-controller-manager", f"--kubeconfig={config}", f"--authentication-kubeconfig={config}",
                   f"--authorization-kubeconfig={config}", "--leader-elect=false", f"--controllers={CONTROLLERS}",
                   f"--secure-port={free_port()}", f"--service-account-private-key-file={self.folder / 'sa.key'}")
        threading.Thread(target=self.play_kubelet, daemon=True).start()
        return self

    def start_api(self):
        self.spawn("kube-apiserver", f"--etcd-servers=http://127.0.0.1:{self.etcd_port}", "--bind-address=127.0.0.1", f"--secure-port={self.port}",
                   f"--cert-dir={self.folder / 'certs'}", f"--service-account-key-file={self.folder / 'sa.pub'}",
                   f"--service-account-signing-key-file={self.folder / 'sa.key'}", "--service-account-issuer=https://kubernetes.default.svc",
                   f"--token-auth-file={self.folder / 'tokens.csv'}", "--authorization-mode=RBAC", "--service-cluster-ip-range=10.96.0.0/16",
                   "--disable-admission-plugins=ServiceAccount", "--allow-privileged")

        def ready():
            assert self.running["kube-apiserver"].poll() is None, (self.folder / "kube-apiserver.log").read_text()[-3000:]
            try:
                return self.call("GET", "/api/v1/namespaces/default") is not None
            except (OSError, urllib.error.HTTPError):
                return False

        wait_until(ready, 180, every=0.5)

    def stop_api(self):
        one = self.running.pop("kube-apiserver")
        one.kill()
        one.wait()

    def stop(self):
        self.ends.set()
        for one in reversed(list(self.running.values())):
            one.kill()
            one.wait()

    def call(self, method, path, body=None, kind="application/json"):
        request = urllib.request.Request(self.url + path, method=method, data=None if body is None else json.dumps(body).encode(),
                                         headers={"Authorization": "Bearer admin-token", "Content-Type": kind})
        with urllib.request.urlopen(request, timeout=20, context=ssl._create_unverified_context()) as response:
            return json.load(response)

    def play_kubelet(self):
        """Every pod runs, and is ready if its image's behaviour is good; a pod that is to be deleted goes; a Job's succeeds."""
        while not self.ends.wait(0.2):
            try:
                for pod in self.call("GET", "/api/v1/namespaces/default/pods")["items"]:
                    self.tend(pod)
            except (OSError, ValueError):
                continue

    def tend(self, pod):
        path = f"/api/v1/namespaces/default/pods/{pod['metadata']['name']}"
        if "deletionTimestamp" in pod["metadata"]:
            self.call("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0})
            return
        if "nodeName" not in pod["spec"]:
            self.call("POST", path + "/binding", {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod["metadata"]["name"]},
                                                  "target": {"apiVersion": "v1", "kind": "Node", "name": "node1"}})
        image = pod["spec"]["containers"][0]["image"]
        does = self.behaviour.get(image, "good")
        job = any(o["kind"] == "Job" for o in pod["metadata"].get("ownerReferences", []))
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        ready = does in ("good", "smoke") and not job
        state = {"running": {"startedAt": now}}
        if job:
            state = {"terminated": {"exitCode": 1 if does == "smoke" else 0, "startedAt": now, "finishedAt": now}}
        if does == "crash":
            state = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}}
        status = {"phase": ("Failed" if does == "smoke" else "Succeeded") if job else "Running", "podIP": "10.0.0.9", "podIPs": [{"ip": "10.0.0.9"}],
                  "conditions": [{"type": "Ready", "status": str(ready), "lastTransitionTime": now}],
                  "containerStatuses": [{"name": c["name"], "image": image, "imageID": "", "ready": ready, "restartCount": 0, "state": state}
                                        for c in pod["spec"]["containers"]]}
        if pod["status"].get("containerStatuses", [{}])[0].get("ready") != ready or pod["status"].get("phase") != status["phase"]:
            self.call("PATCH", path + "/status", {"status": status}, "application/merge-patch+json")
