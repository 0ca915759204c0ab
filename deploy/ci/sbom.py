#!/usr/bin/env python3
"""sbom.py [--out FILE]: a list (SPDX 2.3, JSON) of what a checkout of Weft is built, tested and released with: the distribution's packages
that the launcher installs, with the versions that this machine has; the pinned Python and Node packages of the tests; the Go modules
of the tools; the default model with its SHA-256. What is inside an image is in the image (make_root.sh)."""

import argparse
import json
import re
import subprocess
import sys
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def shell(script: str) -> str:
    return subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def functions(*names: str) -> str:
    """The text of functions of the launcher."""
    launcher = (ROOT / "weft").read_text()
    return "\n".join(re.search(rf"^{name}\(\) .*?^}}", launcher, re.M | re.S)[0] for name in names)


def debian() -> list[tuple[str, str, str]]:
    said = shell(functions("distribution", "packages_for") + "\nfor p in build test model; do packages_for $p; done")
    names = sorted({line.split(":")[-1] for line in said.split()})
    listed = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *names], capture_output=True, text=True).stdout
    versions = dict(line.split() for line in listed.splitlines() if len(line.split()) == 2)
    distribution = shell(functions("distribution") + "\ndistribution").split()[0]
    return [(n, versions.get(n, ""), f"pkg:deb/{distribution}/{n}" + (f"@{versions[n]}" if n in versions else "")) for n in names]


def python() -> list[tuple[str, str, str]]:
    pins = re.findall(r"^([\w-]+)==([\w.]+)", (ROOT / "tests/requirements.txt").read_text(), re.M)
    return [(n, v, f"pkg:pypi/{n.lower()}@{v}") for n, v in pins]


def node() -> list[tuple[str, str, str]]:
    pins = json.loads((ROOT / "tests/e2e/node/package.json").read_text())["dependencies"]
    return [(n, v, f"pkg:npm/{n}@{v}") for n, v in pins.items()]


def go() -> list[tuple[str, str, str]]:
    pins = re.findall(r"module=(\S+) version=(\S+)", (ROOT / "deploy/tools/go_tool.sh").read_text())
    return [(n, v, f"pkg:golang/{n}@{v}") for n, v in pins]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    revision = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    when = subprocess.run(["git", "log", "-1", "--format=%cd", "--date=format-local:%Y-%m-%dT%H:%M:%SZ"], cwd=ROOT, capture_output=True,
                          text=True, check=True, env={"TZ": "UTC", "PATH": "/usr/bin:/bin"}).stdout.strip()
    launcher = (ROOT / "weft").read_text()
    model = {key: re.search(rf"^model_{key}=(\S+)$", launcher, re.M)[1] for key in ("package", "version", "file", "sha256")}
    packages = [{"SPDXID": "SPDXRef-weft", "name": "weft", "versionInfo": revision, "downloadLocation": "NOASSERTION", "filesAnalyzed": False,
                 "licenseDeclared": "Apache-2.0"},
                {"SPDXID": "SPDXRef-model", "name": model["file"], "versionInfo": model["version"], "downloadLocation": "NOASSERTION",
                 "filesAnalyzed": False, "checksums": [{"algorithm": "SHA256", "checksumValue": model["sha256"]}],
                 "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
                                   "referenceLocator": f"pkg:pypi/{model['package']}@{model['version']}"}]}]
    for kind, found in (("deb", debian()), ("pypi", python()), ("npm", node()), ("go", go())):
        for name, version, purl in found:
            packages.append({"SPDXID": f"SPDXRef-{kind}-{re.sub(r'[^A-Za-z0-9.-]', '-', name.replace('+', '-plus'))}", "name": name,
                             **({"versionInfo": version} if version else {}), "downloadLocation": "NOASSERTION", "filesAnalyzed": False,
                             "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
                                               "referenceLocator": purl.replace("+", "%2B")}]})
    document = {"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": "weft-source",
                "documentNamespace": f"https://weft.invalid/spdx/source/{uuid.uuid5(uuid.NAMESPACE_URL, revision)}",
                "creationInfo": {"created": when, "creators": ["Tool: sbom.py"]}, "packages": packages,
                "relationships": [{"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": "SPDXRef-weft"}] + [
                    {"spdxElementId": p["SPDXID"], "relationshipType": "BUILD_TOOL_OF", "relatedSpdxElement": "SPDXRef-weft"} for p in packages[2:]]}
    text = json.dumps(document, indent=1) + "\n"
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text)
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
