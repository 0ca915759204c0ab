"""An HTTP server of files that can also do what real ones do wrong: cut off, refuse, change, not resume."""

import hashlib
import http.server
import threading
from dataclasses import dataclass, field


@dataclass
class Rules:
    files: dict[str, bytes] = field(default_factory=dict)  # path -> content
    ranges: bool = True
    etags: bool = True
    cut_after: list[int] = field(default_factory=list)     # of the next answers: bytes until the connection ends
    answers: list[int] = field(default_factory=list)       # statuses of the next answers, instead of the file
    guard: object = None                                   # called with the handler; a status and a text refuse
    requests: list[tuple[str, dict]] = field(default_factory=list)


class FileServer:
    def __init__(self, **rules):
        self.rules = Rules(**rules)
        outer = self.rules

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def refuse(self, status, text="", headers=()):
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def do_GET(self):
                outer.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
                if outer.answers:
                    status = outer.answers.pop(0)
                    if status != 200:
                        return self.refuse(status, "later", [("Retry-After", "0")])
                if outer.guard and (refusal := outer.guard(self)):
                    return self.refuse(*refusal)
                data = outer.files.get(self.path.split("?")[0])
                if data is None:
                    return self.refuse(404, "no such file")
                etag = '"' + hashlib.md5(data).hexdigest() + '"'
                begin, status = 0, 200
                wanted = self.headers.get("Range")
                if wanted and outer.ranges and self.headers.get("If-Range", etag) == etag:
                    begin = int(wanted.removeprefix("bytes=").split("-")[0])
                    if begin >= len(data):
                        return self.refuse(416, "", [("Content-Range", f"bytes */{len(data)}")])
                    status = 206
                self.send_response(status)
                if status == 206:
                    self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
                if outer.etags:
                    self.send_header("ETag", etag)
                self.send_header("Content-Length", str(len(data) - begin))
                self.end_headers()
                body = data[begin:]
                if outer.cut_after:
                    self.wfile.write(body[:outer.cut_after.pop(0)])
                    self.wfile.flush()
                    self.close_connection = True
                    self.connection.shutdown(2)
                    return
                self.wfile.write(body)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
