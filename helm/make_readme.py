#!/usr/bin/env python3
"""make_readme.py: writes helm/weft/README.md from values.yaml and the descriptions in values.schema.json."""

import json
from pathlib import Path
from typing import NamedTuple

import yaml

CHART = Path(__file__).resolve().parent / "weft"

HEAD = """# weft

The whole mesh as one chart: gateways, schedulers, pools of workers, scanners and collectors.

```sh
weftctl keys generate --role admin --name first --file keys.json > admin.key
kubectl create namespace weft
kubectl label namespace weft pod-security.kubernetes.io/enforce=restricted
kubectl -n weft create secret generic weft-keys --from-file=keys.json
helm install weft helm/weft --namespace weft -f helm/weft/values/dev.yaml --wait
helm test weft --namespace weft
```

The defaults are for production; what they cannot know is in the files of `values/`: `dev` (everything small, on a
CPU), `prod`, `gpu-single`, `gpu-multi-node` and `air-gapped`. They may follow each other: `-f prod.yaml -f
gpu-single.yaml`. A key that does not exist or a value of another type is refused with its path.

Models are never inside an image: each pool names a volume that holds them (`workers.NAME.model.volume`).
API keys are hashes in a Secret that every gateway reads when it starts: change the Secret, then
`kubectl rollout restart deployment/weft-gateway`. Keys that are made over the API live in the gateways' database: a
PostgreSQL that all share ([databases.md](../../docs/deploy/databases.md)), or else one gateway's own file that ends with its pod.

The services read certificates when they start. When cert-manager renews them, restart the workloads before the old
ones end (`tls.mesh.certManager.renewBefore` is the time there is).

Why some numbers are as they are: [ADR 0013](../../docs/adr/0013-helm-defaults.md).

## Values

This table is made by `helm/make_readme.py`; a test compares.

| Key | Default | Meaning |
|---|---|---|
"""


class Row(NamedTuple):
    key: str
    default: str
    description: str


def resolve(schema: dict, node: dict) -> dict:
    """The node with what it refers to, its own description first."""
    out = {}
    for part in [node, *node.get("allOf", [])]:
        if "$ref" in part:
            target = schema
            for step in part["$ref"].removeprefix("#/").split("/"):
                target = target[step]
            part = {**resolve(schema, target), **{k: v for k, v in part.items() if k != "$ref"}}
        out = {**part, **out}
    return out


def walk(schema: dict, node: dict, value, path: str):
    node = resolve(schema, node)
    children = node.get("properties", {})
    if path and (not children or not isinstance(value, dict)):
        yield Row(path, json.dumps(value), node.get("description", ""))
        return
    for key, child in children.items():
        if key == "global":
            continue
        if isinstance(value, dict) and key in value:
            yield from walk(schema, child, value[key], f"{path}.{key}" if path else key)
    for key in value:
        if key not in children:
            yield Row(f"{path}.{key}" if path else key, json.dumps(value[key]), "")


def rows(values: dict) -> list[Row]:
    schema = json.loads((CHART / "values.schema.json").read_text())
    return list(walk(schema, schema, values, ""))


def readme() -> str:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    cell = lambda text: text.replace("|", "\\|")
    return HEAD + "".join(f"| `{r.key}` | `{cell(r.default)}` | {cell(r.description)} |\n" for r in rows(values))


if __name__ == "__main__":
    (CHART / "README.md").write_text(readme())
