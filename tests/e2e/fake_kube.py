"""An API server of Kubernetes as small as weftctl rollout needs it: objects, patches, and controllers for Deployments, ReplicaSets and
Jobs that act at each request. What the real one does with the same requests is shown by test_rollout_kube.py. And a Prometheus."""

import copy
import hashlib
import http.server
import json
import re
import ssl
import threading
import urllib.parse


def merge(target, patch):
    """RFC 7386."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    target = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        else:
            target[key] = merge(target.get(key), value)
    return target


def strategic(target, patch):
    """As merge, but lists of named things merge by name."""
    if isinstance(patch, list) and patch and all(isinstance(p, dict) and "name" in p for p in patch):
        out = [copy.deepcopy(t) for t in target or []]
        for one in patch:
            found = next((i for i, t in enumerate(out) if t["name"] == one["name"]), None)
            if found is None:
                out.append(one)
            else:
                out[found] = strategic(out[found], one)
        return out
    if isinstance(patch, dict):
        out = dict(target or {})
        for key, value in patch.items():
            out[key] = strategic(out.get(key), value)
        return out
    return copy.deepcopy(patch)


class Served:
    """A server on a port of its own that can go away and come back."""

    def __init__(self, answer, certificate=None):
        self.answer, self.port, self.server, self.certificate = answer, 0, None, certificate
        self.start()

    def start(self):
        answer = self.answer

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def reply(self):
                length = int(self.headers.get("Content-Length") or 0)
                status, body = answer(self.command, self.path, self.rfile.read(length), self.headers)
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PATCH = do_DELETE = reply

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self):
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    @property
    def url(self) -> str:
        return f"{'https' if self.certificate else 'http'}://127.0.0.1:{self.port}"


class FakeKube(Served):
    """`behaviour` says of an image what its pods do: "good", "crash", "unready", "smoke" (ready, but its probe fails)."""

    def __init__(self, certificate=None):
        self.objects: dict[tuple[str, str], dict] = {}  # (plural, name)
        self.behaviour: dict[str, str] = {}
        self.lock = threading.RLock()
        self.version = 0
        self.served: list[dict[str, int]] = []          # after each request: pods by image that a Service chooses and that are ready
        self.refuse = None                              # called with method and path; a status refuses
        super().__init__(self.handle, certificate)

    # --- what a test puts in and reads ---------------------------------------------------------
    def add(self, plural, thing):
        with self.lock:
            meta = thing.setdefault("metadata", {})
            meta.setdefault("uid", f"uid-{plural}-{meta['name']}")
            meta.setdefault("generation", 1)
            self.objects[plural, meta["name"]] = thing
            self.touch(thing)
            self.control()

    def of(self, plural) -> dict[str, dict]:
        with self.lock:
            return {name: thing for (p, name), thing in self.objects.items() if p == plural}

    def touch(self, thing):
        self.version += 1
        thing["metadata"]["resourceVersion"] = str(self.version)

    # --- HTTP -----------------------------------------------------------------------------------
    def handle(self, method, path, body, headers):
        with self.lock:
            if self.refuse and (status := self.refuse(method, path)):
                return status, {"kind": "Status", "message": "not today", "reason": "Forbidden"}
            if headers.get("Authorization") != "Bearer test":
                return 401, {"kind": "Status", "message": "Unauthorized"}
            parts = urllib.parse.urlsplit(path)
            match = re.fullmatch(r"/(?:api/v1|apis/[a-z0-9./]+)/namespaces/weft/([a-z]+)(?:/([a-z0-9.-]+))?", parts.path)
            if not match:
                return 404, {"kind": "Status", "message": f"no {parts.path}", "reason": "NotFound"}
            plural, name = match.groups()
            status, answer = getattr(self, method.lower())(plural, name, json.loads(body or b"{}"), parts.query, headers)
            answer = copy.deepcopy(answer)
            self.control()
            self.note()
            return status, answer

    def missing(self, plural, name):
        return 404, {"kind": "Status", "message": f'{plural} "{name}" not found', "reason": "NotFound"}

    def get(self, plural, name, _body, query, _headers):
        if name:
            return (200, self.objects[plural, name]) if (plural, name) in self.objects else self.missing(plural, name)
        wanted = dict(p.split("=") for p in dict(urllib.parse.parse_qsl(query)).get("labelSelector", "").split(",") if p)
        items = [t for t in self.of(plural).values() if wanted.items() <= t["metadata"].get("labels", {}).items()]
        return 200, {"kind": "List", "items": items}

    def post(self, plural, _name, body, _query, _headers):
        name = body["metadata"]["name"]
        if (plural, name) in self.objects:
            return 409, {"kind": "Status", "message": f"{name} already exists", "reason": "AlreadyExists"}
        self.add(plural, body)
        return 201, body

    def patch(self, plural, name, body, _query, headers):
        if (plural, name) not in self.objects:
            return self.missing(plural, name)
        old = self.objects[plural, name]
        wanted = body.get("metadata", {}).get("resourceVersion")
        if wanted and wanted != old["metadata"]["resourceVersion"]:
            return 409, {"kind": "Status", "message": "the object has been modified", "reason": "Conflict"}
        new = (strategic if "strategic" in headers["Content-Type"] else merge)(old, body)
        if new.get("spec") != old.get("spec"):
            new["metadata"]["generation"] = old["metadata"]["generation"] + 1
        self.objects[plural, name] = new
        self.touch(new)
        return 200, new

    def delete(self, plural, name, _body, _query, _headers):
        if (plural, name) not in self.objects:
            return self.missing(plural, name)
        gone = self.objects[plural, name]
        gone["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        return 200, gone

    # --- controllers ----------------------------------------------------------------------------
    def control(self):
        for name, one in list(self.of("deployments").items()):
            if "deletionTimestamp" in one["metadata"]:  # in the foreground: what it owns goes first
                if self.children("replicasets", one):
                    for child in self.children("replicasets", one):
                        self.scale(child, 0)
                        self.objects.pop(("replicasets", child["metadata"]["name"]))
                else:
                    self.objects.pop(("deployments", name))
            else:
                self.roll(name, one)
        for name, job in list(self.of("jobs").items()):
            if "deletionTimestamp" in job["metadata"]:
                self.objects.pop(("jobs", name))
            elif "status" not in job:
                image = job["spec"]["template"]["spec"]["containers"][0]["image"]
                kind = "Failed" if self.behaviour.get(image) == "smoke" else "Complete"
                job["status"] = {"conditions": [{"type": kind, "status": "True", "message": "Job has reached the specified backoff limit"}]}

    def children(self, plural, owner):
        return [t for t in self.of(plural).values()
                if any(o["uid"] == owner["metadata"]["uid"] for o in t["metadata"].get("ownerReferences", []))]

    def roll(self, name, one):
        digest = hashlib.sha256(json.dumps(one["spec"]["template"], sort_keys=True).encode()).hexdigest()[:8]
        sets = {s["metadata"]["labels"]["pod-template-hash"]: s for s in self.children("replicasets", one)}
        notes = one["metadata"].setdefault("annotations", {})
        if digest not in sets or notes.get("deployment.kubernetes.io/revision") != \
                sets[digest]["metadata"]["annotations"]["deployment.kubernetes.io/revision"]:
            revision = str(1 + max((int(s["metadata"]["annotations"]["deployment.kubernetes.io/revision"]) for s in sets.values()), default=0))
            notes["deployment.kubernetes.io/revision"] = revision
            if digest in sets:
                sets[digest]["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = revision
            else:
                template = copy.deepcopy(one["spec"]["template"])
                template["metadata"]["labels"]["pod-template-hash"] = digest
                sets[digest] = {"metadata": {"name": f"{name}-{digest}", "uid": f"uid-{name}-{digest}", "labels": template["metadata"]["labels"],
                                             "annotations": {"deployment.kubernetes.io/revision": revision},
                                             "ownerReferences": [{"uid": one["metadata"]["uid"]}]}, "spec": {"template": template}}
                self.objects["replicasets", f"{name}-{digest}"] = sets[digest]
        wanted = one["spec"]["replicas"]
        ready = self.scale(sets[digest], wanted)
        rest = 0
        for other, kept in sets.items():
            if other != digest:  # an old pod goes when a new one is ready
                rest += self.scale(kept, 0 if ready == wanted else min(wanted, len(self.children("pods", kept))))
        one["status"] = {"observedGeneration": one["metadata"]["generation"], "replicas": wanted + rest, "updatedReplicas": wanted,
                         "availableReplicas": ready + rest}

    def scale(self, replica_set, wanted) -> int:
        """Pods of the set that are ready, once it has that many."""
        pods = self.children("pods", replica_set)
        for pod in pods[wanted:]:
            self.objects.pop(("pods", pod["metadata"]["name"]))
        template = replica_set["spec"]["template"]
        image = template["spec"]["containers"][0]["image"]
        does = self.behaviour.get(image, "good")
        for i in range(len(pods), wanted):
            self.version += 1
            name = f"{replica_set['metadata']['name']}-{self.version:05d}"
            self.objects["pods", name] = {"metadata": {"name": name, "labels": template["metadata"]["labels"],
                                                       "ownerReferences": [{"uid": replica_set["metadata"]["uid"]}]},
                                          "spec": template["spec"], "status": {"podIP": f"10.0.0.{self.version % 250 + 1}"}}
        for pod in self.children("pods", replica_set):
            container = {"name": "main", "restartCount": 0, "state": {"running": {}}}
            if does == "crash":
                container = {"name": "main", "restartCount": 1, "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
                             "lastState": {"terminated": {"reason": "Error", "exitCode": 78, "message": "weft.yaml:3: unknown key"}}}
            pod["status"]["containerStatuses"] = [container]
        return wanted if does in ("good", "smoke") else 0

    def note(self):
        for service in self.of("services").values():
            counted: dict[str, int] = {}
            for pod in self.of("pods").values():
                image = pod["spec"]["containers"][0]["image"]
                if service["spec"]["selector"].items() <= pod["metadata"]["labels"].items() and self.behaviour.get(image, "good") in ("good", "smoke"):
                    counted[image] = counted.get(image, 0) + 1
            self.served.append(counted)


class FakePrometheus(Served):
    """Answers by what `told` says of pods: requests, errors, ttft, tokens of the first pattern that is in the query."""

    def __init__(self):
        self.told: dict[str, dict[str, float]] = {"": {"requests": 100, "errors": 0.0, "ttft": 0.2, "tokens": 50}}
        self.asked: list[str] = []
        super().__init__(self.handle)

    def handle(self, _method, path, _body, _headers):
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(path).query))["query"]
        self.asked.append(query)
        told = next(v for k, v in self.told.items() if k in query)
        kind = "ttft" if "first_token" in query else "tokens" if "tokens" in query else "errors" if "or vector(0)" in query else "requests"
        return 200, {"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [0, str(told[kind])]}]}}
