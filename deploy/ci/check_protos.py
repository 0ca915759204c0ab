#!/usr/bin/env python3
"""check_protos.py [--against REV]: the contracts in proto/weft keep the house's style, and with --against stay compatible,
on the wire and for their JSON, with those of a git revision. Prints one line a finding; exits 1 when there is any.

Style is that of buf's STANDARD category where it concerns one of ours: names, packages by folder, zero values, prefixes of
enum values, services called ...Service, and a comment on each service and RPC. Compatible means: nothing that a peer of
the older revision may still send or read has changed its number, type, cardinality or name; what is gone is `reserved`.
Needs grpcio-tools, which tests/requirements.txt has."""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from google.protobuf import descriptor_pb2 as pb

ROOT = Path(__file__).resolve().parents[2]
Field = pb.FieldDescriptorProto


def compiled(folder: Path) -> dict[str, pb.FileDescriptorProto]:
    """Our own files below `folder`/weft, by name, with their comments."""
    names = sorted(str(p.relative_to(folder)) for p in (folder / "weft").rglob("*.proto"))
    if not names:
        return {}
    with tempfile.NamedTemporaryFile(suffix=".pb") as out:
        done = subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", "--include_source_info",
                               f"--descriptor_set_out={out.name}", *names], capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"check_protos: protoc refuses the contracts in {folder}:\n{done.stderr}")
        files = pb.FileDescriptorSet.FromString(Path(out.name).read_bytes()).file
    return {file.name: file for file in files}


def at_revision(revision: str, into: Path) -> Path:
    """The folder proto of a git revision, unpacked below `into`."""
    done = subprocess.run(["git", "archive", revision, "proto"], cwd=ROOT, capture_output=True)
    if done.returncode != 0:
        raise SystemExit(f"check_protos: no contracts at {revision!r}: {done.stderr.decode().strip()}")
    subprocess.run(["tar", "-x", "-C", into], input=done.stdout, check=True)
    return into / "proto"


# --- style ---

PASCAL, SNAKE, UPPER = r"[A-Z][A-Za-z0-9]*", r"[a-z][a-z0-9]*(_[a-z0-9]+)*", r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*"


def upper_snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).upper()


def style(file: pb.FileDescriptorProto) -> list[str]:
    found = []

    def want(good: bool, what: str):
        if not good:
            found.append(f"{file.name}: {what}")

    want(file.syntax == "proto3", "syntax is not proto3")
    want(file.package == str(Path(file.name).parent).replace("/", "."), f"package {file.package} is not its folder's")
    want(re.search(r"\.v[1-9]\d*$", file.package), f"package {file.package} has no version")
    want(re.fullmatch(SNAKE, Path(file.name).stem), "the file's name is not snake_case")
    commented = {tuple(l.path) for l in file.source_code_info.location if l.leading_comments.strip() or l.trailing_comments.strip()}

    def enum(e: pb.EnumDescriptorProto, where: str):
        want(re.fullmatch(PASCAL, e.name), f"enum {where}{e.name} is not PascalCase")
        prefix = upper_snake(e.name) + "_"
        want(e.value[0].number == 0 and e.value[0].name == prefix + "UNSPECIFIED",
             f"enum {where}{e.name}: its zero is {e.value[0].name}, not {prefix}UNSPECIFIED")
        want(not e.options.allow_alias, f"enum {where}{e.name} allows aliases")
        for value in e.value:
            want(re.fullmatch(UPPER, value.name) and value.name.startswith(prefix),
                 f"enum {where}{e.name}: {value.name} does not begin with {prefix}")

    def message(m: pb.DescriptorProto, where: str):
        want(re.fullmatch(PASCAL, m.name), f"message {where}{m.name} is not PascalCase")
        for field in m.field:
            want(re.fullmatch(SNAKE, field.name), f"field {where}{m.name}.{field.name} is not snake_case")
        for oneof in m.oneof_decl:
            want(re.fullmatch("_?" + SNAKE, oneof.name), f"oneof {where}{m.name}.{oneof.name} is not snake_case")
        for nested in m.nested_type:
            if not nested.options.map_entry:
                message(nested, f"{where}{m.name}.")
        for nested in m.enum_type:
            enum(nested, f"{where}{m.name}.")

    for m in file.message_type:
        message(m, "")
    for e in file.enum_type:
        enum(e, "")
    for i, service in enumerate(file.service):
        want(re.fullmatch(PASCAL + "Service", service.name), f"service {service.name} is not called …Service")
        want((6, i) in commented or service.method, f"service {service.name} is empty")
        for j, rpc in enumerate(service.method):
            want(re.fullmatch(PASCAL, rpc.name), f"rpc {service.name}.{rpc.name} is not PascalCase")
            want((6, i, 2, j) in commented, f"rpc {service.name}.{rpc.name} has no comment")
            if not (rpc.client_streaming or rpc.server_streaming):
                for kind, told in (("Request", rpc.input_type), ("Response", rpc.output_type)):
                    # The standard methods of a resource (AIP-131, 133, 134) answer with the resource itself.
                    resource = re.fullmatch("(?:Create|Get|Update)(.+)", rpc.name) if kind == "Response" else None
                    allowed = [f".{file.package}.{rpc.name}{kind}"] + [f".{file.package}.{r[1]}" for r in [resource] if r]
                    want(told in allowed, f"rpc {service.name}.{rpc.name}: {told} is not {rpc.name}{kind}")
    return found


# --- compatibility ---

class Index:
    """Every message, enum and RPC by its full name."""

    def __init__(self, files: dict[str, pb.FileDescriptorProto]):
        self.messages: dict[str, pb.DescriptorProto] = {}
        self.enums: dict[str, pb.EnumDescriptorProto] = {}
        self.rpcs: dict[str, pb.MethodDescriptorProto] = {}
        for file in files.values():
            for m in file.message_type:
                self._add(m, file.package)
            for e in file.enum_type:
                self.enums[f"{file.package}.{e.name}"] = e
            for s in file.service:
                for rpc in s.method:
                    self.rpcs[f"{file.package}.{s.name}/{rpc.name}"] = rpc

    def _add(self, m: pb.DescriptorProto, where: str):
        self.messages[f"{where}.{m.name}"] = m
        for nested in m.nested_type:
            self._add(nested, f"{where}.{m.name}")
        for e in m.enum_type:
            self.enums[f"{where}.{m.name}.{e.name}"] = e


def shape(m: pb.DescriptorProto, field: Field) -> dict:
    """What both sides have to agree on."""
    oneof = m.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") and not field.proto3_optional else None
    return {"name": field.name, "JSON name": field.json_name, "type": Field.Type.Name(field.type), "type name": field.type_name,
            "cardinality": Field.Label.Name(field.label), "presence": field.proto3_optional, "oneof": oneof}


def broken(old: Index, new: Index) -> list[str]:
    found = []
    for name in old.messages.keys() - new.messages.keys():
        found.append(f"message {name} is gone")
    for name, before in old.messages.items():
        now = new.messages.get(name)
        if now is None:
            continue
        fields = {f.number: f for f in now.field}
        for field in before.field:
            other = fields.get(field.number)
            if other is None:
                held = any(r.start <= field.number < r.end for r in now.reserved_range) and field.name in now.reserved_name
                if not held:
                    found.append(f"field {name}.{field.name} is gone: reserve {field.number} and \"{field.name}\"")
                continue
            was, is_now = shape(before, field), shape(now, other)
            for what in was:
                if was[what] != is_now[what]:
                    found.append(f"field {name}.{field.name} = {field.number}: {what} {was[what]!r} became {is_now[what]!r}")
    for name in old.enums.keys() - new.enums.keys():
        found.append(f"enum {name} is gone")
    for name, before in old.enums.items():
        now = new.enums.get(name)
        if now is None:
            continue
        values = {v.number: v.name for v in now.value}
        for value in before.value:
            held = any(r.start <= value.number <= r.end for r in now.reserved_range) and value.name in now.reserved_name
            if value.number not in values and not held:
                found.append(f"value {name}.{value.name} is gone: reserve {value.number} and \"{value.name}\"")
            elif value.number in values and values[value.number] != value.name:
                found.append(f"value {name}.{value.name} = {value.number} became {values[value.number]}")
    for name, before in old.rpcs.items():
        now = new.rpcs.get(name)
        if now is None:
            found.append(f"rpc {name} is gone")
            continue
        for what in ("input_type", "output_type", "client_streaming", "server_streaming"):
            if getattr(before, what) != getattr(now, what):
                found.append(f"rpc {name}: {what} {getattr(before, what)!r} became {getattr(now, what)!r}")
    return sorted(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", metavar="REV", help="a git revision that must be able to talk with this one")
    parser.add_argument("--proto", type=Path, default=ROOT / "proto", help="the folder (default: proto)")
    arguments = parser.parse_args()
    now = compiled(arguments.proto)
    found = [line for file in now.values() for line in style(file)]
    if arguments.against:
        with tempfile.TemporaryDirectory() as work:
            old = compiled(at_revision(arguments.against, Path(work)))
        found += broken(Index(old), Index(now))
    print("\n".join(found) if found else f"check_protos: {len(now)} files are fine")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
