"""The chart as Helm renders it, and its pods as processes of this machine would see them."""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

CHART: Final = Path(__file__).parents[1] / "deploy" / "chart"
BIN: Final = Path(sys.executable).parent
# The oldest that Chart.yaml takes, and the newest that is known.
KUBERNETES: Final = ("1.27", "1.37")
KEYS: Final = "key: 0123456789abcdef0123456789abcdef"
LEAST: Final = {"apiKeys.value": KEYS, "certificates.existingSecret": "pysfu-nodes"}


def helm(command: str, values: Mapping[str, str], version: str = KUBERNETES[-1]) -> subprocess.CompletedProcess[str]:
    flags = [
        part for name, value in values.items() for part in ("--set", f"{name}={value.replace(',', chr(92) + ',')}")
    ]
    words = [command, *(["sfu"] if command == "template" else []), str(CHART), "--kube-version", f"{version}.0", *flags]
    if command == "lint":
        words.append("--strict")
    return subprocess.run([str(BIN / "helm"), *words], capture_output=True, text=True, timeout=60, check=False)


def render(values: Mapping[str, str], version: str = KUBERNETES[-1]) -> list[dict[str, Any]]:
    done = helm("template", values, version)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def of_kind(manifests: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in manifests if one["kind"] == kind}


def node_set(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    return of_kind(manifests, "StatefulSet")["sfu-pysfu"]


def pod_environment(container: Mapping[str, Any], known: Mapping[str, str]) -> dict[str, str]:
    """As the kubelet would make it: `$(NAME)` stands for a variable before it."""
    found: dict[str, str] = {}
    for entry in container["env"]:
        if "valueFrom" in entry:
            found[entry["name"]] = known[entry["name"]]
        else:
            found[entry["name"]] = expand(entry["value"], found)
    return found


def expand(text: str, variables: Mapping[str, str]) -> str:
    return re.sub(r"\$\((\w+)\)", lambda match: variables[match[1]], text)


def mounted(
    pod: Mapping[str, Any], container: Mapping[str, Any], variables: Mapping[str, str], folder: Path
) -> Iterator[tuple[str, Path]]:
    """Paths in the container and what stands for them here."""
    made = folder / "made"
    name = variables["POD_NAME"]
    plain = folder / "plain"
    plain.write_text("")
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in container["volumeMounts"]:
        volume = volumes[mount["name"]]
        path = mount["mountPath"]
        inside = mount.get("subPath") or expand(mount.get("subPathExpr", ""), variables)
        if mount["name"] != "node":
            yield from ((f"{path}/{file}", plain) for file in ("nats.creds", "tls.crt", "tls.key"))
        elif "secret" in volume:
            yield path, made / inside
        else:
            # cert-manager's names for the same.
            parts = {"ca.crt": made / "ca.pem", "tls.crt": made / f"{name}.pem", "tls.key": made / f"{name}.key"}
            (source,) = (s for s in volume["projected"]["sources"] if s["secret"]["name"] == f"{name}-node")
            for item in source["secret"]["items"]:
                assert item["path"].startswith(f"{inside}/")
                yield f"{path}/{item['path'].removeprefix(f'{inside}/')}", parts[item["key"]]
