#!/usr/bin/env python3
"""check_terraform.py [--schemas FOLDER] [ROOT]: what `terraform validate` would find in deploy/terraform, without providers.

Without --schemas: every reference to a variable, local, resource, data source or module is declared; every variable is used and, as every
output, described; a module gets the variables that it asks for. With --schemas every resource and data source too: its type, attributes
and blocks exist and none that is required is missing, by the providers' own schemas. FOLDER holds the packages @cdktf/provider-NAME as
`npm pack` fetches them, whose declarations carry those schemas; missing ones are fetched (110 MB in all)."""

import argparse
import re
import subprocess
import sys
import tarfile
from functools import cache
from pathlib import Path

import hcl2

VERSIONS = {"aws": "21.22.1", "google": "16.12.1", "azurerm": "14.23.1", "helm": "12.1.2", "kubernetes": "12.1.1", "random": "12.0.1"}
META = {"count", "for_each", "depends_on", "lifecycle", "provider", "provisioner", "connection"}
BUILT_IN = {"each", "count", "self", "path", "terraform"}


def plain(text: str) -> str:
    return text.strip('"')


class Folder:
    """One module: a folder of .tf files."""

    def __init__(self, path: Path):
        self.path, self.faults = path, []
        self.text, self.blocks = "", []  # (kind, labels, body)
        for file in sorted(path.glob("*.tf")):
            text = file.read_text()
            self.text += re.sub(r"(?m)#.*$", "", text)
            for kind, entries in hcl2.loads(text).items():
                for entry in entries if isinstance(entries, list) else []:
                    self.blocks.append((kind, *self.unlabelled(kind, entry)))

    @staticmethod
    def unlabelled(kind: str, entry: dict) -> tuple[list[str], dict]:
        labels = []
        for _ in range({"resource": 2, "data": 2, "variable": 1, "output": 1, "module": 1, "provider": 1}.get(kind, 0)):
            (name, entry), = ((k, v) for k, v in entry.items() if k != "__is_block__")
            labels.append(plain(name))
        return labels, entry

    def of(self, kind: str) -> dict[tuple, dict]:
        return {tuple(labels): body for k, labels, body in self.blocks if k == kind}

    def fault(self, text: str):
        self.faults.append(f"{self.path.name}: {text}")

    def check_names(self):
        declared = {f"var.{n}" for (n,) in self.of("variable")} | {f"module.{n}" for (n,) in self.of("module")}
        declared |= {f"{t}.{n}" for t, n in self.of("resource")} | {f"data.{t}.{n}" for t, n in self.of("data")}
        for kind, _, body in self.blocks:
            if kind == "locals":
                declared |= {f"local.{name}" for name in body}
        resource_types = {t for t, _ in self.of("resource")}
        expressions = re.sub(r'(?m)^(resource|data|variable|output|module|provider) .*$', "", self.text)
        # What stands within a string counts only inside ${…}.
        expressions = re.sub(r'"(?:[^"\\]|\\.)*"', lambda m: " ".join(re.findall(r"\$\{([^}]*)\}", m[0])), expressions)
        used = set(re.findall(r"(?<![\w.])((?:var|local|module)\.\w+|data\.\w+\.\w+)", expressions))
        used |= {m for m in re.findall(r"(?<![\w.])(\w+\.\w+)", expressions) if m.split(".")[0] in resource_types}
        used |= {m for m in re.findall(r"(?<![\w.])((?:aws|google|azurerm|kubernetes|helm|random)_\w+\.\w+)", expressions)}
        for name in sorted(used - declared):
            self.fault(f"{name} is not declared")
        for (name,), body in self.of("variable").items():
            if f"var.{name}" not in used:
                self.fault(f"variable {name} is never used")
            if not body.get("description") or "type" not in body:
                self.fault(f"variable {name} has no description or no type")
        for (name,), body in self.of("output").items():
            if not body.get("description"):
                self.fault(f"output {name} has no description")

    def check_modules(self):
        for (name,), body in self.of("module").items():
            source = self.path / plain(body["source"])
            if not source.is_dir():
                self.fault(f"module {name}: there is no {source}")
                continue
            wants = Folder(source.resolve()).of("variable")
            given = set(body) - META - {"source", "version", "__is_block__"}
            for missing in sorted({n for (n,), v in wants.items() if "default" not in v} - given):
                self.fault(f"module {name}: {missing} is missing")
            for unknown in sorted(given - {n for (n,) in wants}):
                self.fault(f"module {name}: {unknown} is no variable of it")

    def check_schemas(self, schemas: "Schemas"):
        for kind in ("resource", "data"):
            for (type_, name), body in self.of(kind).items():
                where = f"{kind} {type_}.{name}"
                interface = schemas.interface(kind, type_)
                if interface is None:
                    self.fault(f"{where}: the provider has no such {kind}")
                    continue
                self.check_body(where, body, interface, schemas.interfaces(kind, type_), top=True)

    def check_body(self, where: str, body: dict, interface: dict, all_: dict, top=False):
        given = {}
        for key, value in body.items():
            if key in ("__is_block__", "__comments__", "dynamic") or (top and key in META):
                continue
            given[key] = value
        for dynamic in body.get("dynamic", []):
            for key, value in dynamic.items():
                if key != "__is_block__":
                    given.setdefault(plain(key), []).extend(value["content"])
        for key, value in given.items():
            if key not in interface:
                self.fault(f"{where}: {key} does not exist")
                continue
            blocks = [v for v in value if isinstance(v, dict) and "__is_block__" in v] if isinstance(value, list) else []
            inner = all_.get(interface[key][1])
            for block in blocks:
                if inner is None:
                    self.fault(f"{where}: {key} is no block")
                else:
                    self.check_body(f"{where}.{key}", block, inner, all_)
        for key, (required, _) in interface.items():
            if required and key not in given:
                self.fault(f"{where}: {key} is missing")


class Schemas:
    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @cache
    def package(self, provider: str) -> tarfile.TarFile:
        path = self.folder / f"cdktf-provider-{provider}-{VERSIONS[provider]}.tgz"
        if not path.exists():
            print(f"check_terraform: fetching @cdktf/provider-{provider}", file=sys.stderr)
            subprocess.run(["npm", "pack", "--silent", f"@cdktf/provider-{provider}@{VERSIONS[provider]}"], cwd=self.folder,
                           check=True, stdout=subprocess.DEVNULL)
        return tarfile.open(path)

    @cache
    def names(self, provider: str) -> frozenset[str]:
        return frozenset(self.package(provider).getnames())

    @cache
    def interfaces(self, kind: str, type_: str) -> dict[str, dict]:
        """Interface -> attribute -> (whether required, the type's name)."""
        provider, _, rest = type_.partition("_")
        folder = ("data-" + type_ if kind == "data" else rest).replace("_", "-")
        ours = re.compile(rf"package/lib/{folder}(-resource)?/(index|index-structs/\w+)\.d\.ts")
        text = "".join(self.package(provider).extractfile(name).read().decode()
                       for name in sorted(self.names(provider)) if ours.fullmatch(name))
        found = {}
        for name, base, body in re.findall(r"export interface (\w+)([^{]*)\{\n(.*?)\n\}", text, re.S):
            name = "" if "TerraformMetaArguments" in base else name  # "": the resource itself
            # Each property is documented by a link that ends with Class#snake_case.
            found[name] = {snake: (optional != "?", type_name.split(" |")[0].removesuffix("[]").strip())
                           for snake, optional, type_name in re.findall(
                               r"#\w+ \w+#(\w+)\}[^\n]*\n(?:(?!readonly)[^\n]*\n)*?\s*readonly \w+(\??): ([^;{]*)", body)}
        return found

    def interface(self, kind: str, type_: str) -> dict | None:
        return self.interfaces(kind, type_).get("")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", nargs="?", type=Path, default=Path(__file__).resolve().parents[1] / "terraform")
    parser.add_argument("--schemas", type=Path)
    args = parser.parse_args()
    faults, count = [], 0
    schemas = Schemas(args.schemas) if args.schemas else None
    for path in sorted(p for p in args.root.iterdir() if any(p.glob("*.tf"))):
        folder = Folder(path)
        folder.check_names()
        folder.check_modules()
        if schemas:
            folder.check_schemas(schemas)
        faults += folder.faults
        count += len(folder.of("resource")) + len(folder.of("data"))
    print("\n".join(faults) or f"check_terraform: {count} resources and data sources are fine", file=sys.stderr if faults else sys.stdout)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
