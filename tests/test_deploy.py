"""The chart, the compose file and the image: the tools' own linters, and that they and the settings fit together."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from control_plane.cluster import certs
from control_plane.config import Settings, load
from tests.chart import BIN, CHART, KEYS, KUBERNETES, LEAST, helm, mounted, node_set, of_kind, pod_environment, render

ROOT = Path(__file__).parents[1]
# Brought by dependencies that are made of them: protobuf, its well-known types and gRPC's, pyjwt's cryptography.
BROUGHT = {"google", "cryptography"}
DEPLOY = ROOT / "deploy"
# Everything that can be on.
MOST = {
    "apiKeys.existingSecret": "keys",
    "certificates.certManager.enabled": "true",
    "certificates.certManager.issuerRef.name": "nodes",
    "region": "eu-west",
    "media.externalIPs[0]": "$(HOST_IP)",
    "cluster.address": "$(POD_NAME).example.com:7891",
    "publicUrl": "wss://rooms.example.com",
    "nats.urls[0]": "tls://bus.example.com:4222",
    "nats.credentialsSecret": "bus",
    "tls.existingSecret": "tls",
    "ingress.enabled": "true",
    "ingress.host": "rooms.example.com",
    "ingress.tlsSecret": "rooms",
    "ingress.className": "nginx",
    "autoscaling.enabled": "true",
    "serviceMonitor.enabled": "true",
    "settings.loudest_speakers": "4",
    "nodeSelector.pool": "media",
}
SINGLE = LEAST | {"nats.bundled.replicas": "1", "replicas": "1", "hostNetwork": "false"}
VARIANTS = pytest.mark.parametrize("values", [LEAST, MOST, SINGLE], ids=["least", "most", "single"])
# Of the chart's other kinds these are not Kubernetes' own.
FOREIGN = {"Certificate", "ServiceMonitor"}


@VARIANTS
@pytest.mark.parametrize("version", KUBERNETES)
def test_helm_finds_nothing_wrong(values: Mapping[str, str], version: str) -> None:
    done = helm("lint", values, version)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout


@VARIANTS
@pytest.mark.parametrize("version", KUBERNETES)
def test_manifests_are_what_kubernetes_takes(values: Mapping[str, str], version: str) -> None:
    manifests = render(values, version)
    checked = [one for one in manifests if one["kind"] not in FOREIGN]
    assert len(checked) >= 5
    for manifest in checked:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_the_chart_is_of_this_release() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]
    assert chart["appVersion"] == workspace["package"]["version"]
    (container,) = node_set(render(LEAST))["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"pysfu:{chart['appVersion']}"


def test_what_kubernetes_does_not_take_is_found() -> None:
    manifest = node_set(render(LEAST))
    manifest["spec"]["template"]["spec"]["containers"][0]["prots"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, KUBERNETES[-1], strict=True)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"apiKeys.value": ""}, "apiKeys: set existingSecret"),
        ({"certificates.existingSecret": ""}, "certificates: set existingSecret"),
        ({"certificates.certManager.enabled": "true"}, "choose one"),
        ({"certificates.existingSecret": "", "certificates.certManager.enabled": "true"}, "issuerRef.name"),
        ({"nats.bundled.enabled": "false"}, "nats: set urls"),
        ({"nats.urls[0]": "http://bus"}, "nats/urls/0"),
        ({"nats.bundled.replicas": "2"}, "nats/bundled/replicas"),
        ({"ingress.enabled": "true"}, "ingress.host"),
        ({"ports.http": "0"}, "ports/http"),
        ({"replcas": "2"}, "replcas"),
        ({"autoscaling.enabled": "true", "autoscaling.minReplicas": "20"}, "minReplicas is above"),
    ],
)
def test_values_that_cannot_be_are_refused_with_a_reason(changes: dict[str, str], told: str) -> None:
    done = helm("template", LEAST | changes)
    assert done.returncode != 0
    assert told in done.stderr.replace(".", "/") or told in done.stderr


@VARIANTS
def test_selectors_find_the_pods_and_nothing_else(values: Mapping[str, str]) -> None:
    manifests = render(values)
    sets = of_kind(manifests, "StatefulSet").values()
    pods = {one["metadata"]["name"]: one["spec"]["template"]["metadata"]["labels"] for one in sets}
    services = of_kind(manifests, "Service")
    assert len(services) == len(pods) + 1
    for name, service in services.items():
        found = [pod for pod, labels in pods.items() if service["spec"]["selector"].items() <= labels.items()]
        assert found == [name.removesuffix("-nodes")]
        ports = {
            port["name"]
            for one in sets
            if one["metadata"]["name"] == found[0]
            for port in one["spec"]["template"]["spec"]["containers"][0]["ports"]
        }
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for one in sets:
        assert one["spec"]["serviceName"] in services
        assert one["spec"]["selector"]["matchLabels"].items() <= pods[one["metadata"]["name"]].items()


@VARIANTS
def test_pods_may_do_little_and_end_in_peace(values: Mapping[str, str]) -> None:
    for name, one in of_kind(render(values), "StatefulSet").items():
        pod = one["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["requests"]
        assert container["readinessProbe"]
        if name == "sfu-pysfu":
            environment = {entry["name"]: entry.get("value", "") for entry in container["env"]}
            assert pod["terminationGracePeriodSeconds"] >= float(environment["PYSFU_DRAIN_TIMEOUT"]) + 10
            assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
            assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
            scheme = container["livenessProbe"]["httpGet"].get("scheme", "HTTP")
            assert (scheme == "HTTPS") == ("PYSFU_TLS_CERT" in environment)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Without the settings that happen to be here."""
    for name in list(os.environ):
        if name.startswith("PYSFU_"):
            monkeypatch.delenv(name)
    return monkeypatch


@VARIANTS
def test_a_pod_is_a_node_that_its_settings_describe(
    values: Mapping[str, str], tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    """The pod's variables and mounts, made of certificates as `pysfu cluster certs` makes them."""
    stateful = node_set(render(values))
    pod = stateful["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    name = f"{stateful['metadata']['name']}-0"
    certs.make([name, "sfu-pysfu-1"], tmp_path / "made")
    known = {"POD_NAME": name, "POD_IP": "10.1.2.3", "HOST_IP": "192.0.2.7", "PYSFU_KEYS": KEYS, "NATS_PASSWORD": "p"}
    variables = pod_environment(container, known)
    paths = dict(mounted(pod, container, variables, tmp_path))
    for variable, value in variables.items():
        if variable.startswith("PYSFU_"):
            assert variable.removeprefix("PYSFU_").lower() in Settings.model_fields, f"{variable} is no setting"
            environment.setenv(variable, str(paths.get(value, value)))
    settings = load({})
    assert settings.cluster_ca is not None
    assert settings.cluster_cert is not None
    assert settings.cluster_key is not None
    identity = certs.load(settings.cluster_ca, settings.cluster_cert, settings.cluster_key, settings.node_id)
    assert identity.node == name
    assert settings.relay_ip == "10.1.2.3"
    assert all(url.startswith(("nats://", "tls://")) for url in settings.nats)
    udp = {port["containerPort"] for port in container["ports"] if port.get("protocol") == "UDP"}
    assert udp == set(range(settings.udp_port, settings.udp_port + settings.workers))
    tcp = {port["name"]: port["containerPort"] for port in container["ports"] if port.get("protocol") != "UDP"}
    expected = {"http": settings.http_port, "grpc": settings.grpc_port, "cluster": settings.cluster_port}
    assert tcp == expected
    if values is MOST:
        assert settings.announced_cluster_address() == "sfu-pysfu-0.example.com:7891"
        assert (settings.region, settings.loudest_speakers) == ("eu-west", 4)
        assert settings.external_ips == ["192.0.2.7"]
    else:
        assert settings.announced_cluster_address() == "10.1.2.3:7891"


def test_every_pod_that_may_come_has_a_certificate() -> None:
    manifests = render(MOST)
    certificates = of_kind(manifests, "Certificate")
    assert len(certificates) == 12 == of_kind(manifests, "HorizontalPodAutoscaler")["sfu-pysfu"]["spec"]["maxReplicas"]
    for index in range(12):
        certificate = certificates[f"sfu-pysfu-{index}-node"]["spec"]
        assert certificate["dnsNames"] == [certs.name_of(f"sfu-pysfu-{index}")]
        assert {"server auth", "client auth"} <= set(certificate["usages"])
    assert "replicas" not in node_set(manifests)["spec"], "it is the autoscaler's"


@pytest.mark.parametrize("values", [LEAST, SINGLE], ids=["three", "one"])
def test_the_bundled_servers_take_their_configuration(values: Mapping[str, str], tmp_path: Path) -> None:
    manifests = render(values)
    secret = of_kind(manifests, "Secret")["sfu-pysfu-nats"]["stringData"]
    config = tmp_path / "nats.conf"
    config.write_text(secret["nats.conf"])
    command = ["nats-server", "-t", "--config", str(config)]
    environment = os.environ | {"POD_NAME": "sfu-pysfu-nats-0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (container,) = of_kind(manifests, "StatefulSet")["sfu-pysfu-nats"]["spec"]["template"]["spec"]["containers"]
    assert {port["containerPort"] for port in container["ports"]} == {4222, 6222, 8222}
    assert len(secret["password"]) == 40


# The compose file.


def dclint(path: Path) -> subprocess.CompletedProcess[str]:
    program = DEPLOY / "lint" / "node_modules" / ".bin" / "dclint"
    command = [str(program), "--config", str(DEPLOY / "lint" / "dclint.json"), "--max-warnings", "0", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_compose_file_has_no_faults() -> None:
    done = dclint(DEPLOY / "compose.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_fault_of_a_compose_file_is_found(tmp_path: Path) -> None:
    broken = tmp_path / "compose.yaml"
    broken.write_text((DEPLOY / "compose.yaml").read_text().replace("healthcheck:", "healthchek:"))
    assert "healthchek" in dclint(broken).stdout or dclint(broken).returncode != 0


@pytest.mark.parametrize("name", ["a", "b"])
def test_services_of_the_compose_file_are_nodes(name: str, tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    service = compose["services"][name]
    words = compose["services"]["certificates"]["command"]
    assert words[:2] == ["cluster", "certs"]
    assert name in words
    certs.make(["a", "b"], tmp_path)
    for variable, value in service["environment"].items():
        text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value))
        environment.setenv(variable, text.replace("/var/lib/pysfu", str(tmp_path)))
    settings = load({"dev": "--dev" in service["command"]})
    assert settings.cluster_cert is not None
    assert settings.cluster_ca is not None
    assert settings.cluster_key is not None
    assert certs.load(settings.cluster_ca, settings.cluster_cert, settings.cluster_key, settings.node_id).node == name
    published = {port.rpartition(":")[2]: port.split(":")[-2] for port in service["ports"]}
    inside = {str(settings.http_port), str(settings.grpc_port), f"{settings.udp_port}/udp"}
    assert set(published) == inside
    assert all(outer == inner.removesuffix("/udp") for inner, outer in published.items()), "announced ports are reached"
    assert settings.relay_ip == service["networks"]["nodes"]["ipv4_address"]
    assert settings.announced_cluster_address() == f"{settings.relay_ip}:7891"
    assert float(service["stop_grace_period"].removesuffix("s")) > settings.drain_seconds() + 10


# The image.


def hadolint(path: Path) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "hadolint"), "--no-color", "--failure-threshold", "info", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_image_has_no_faults() -> None:
    done = hadolint(DEPLOY / "Dockerfile")
    assert done.returncode == 0, done.stdout


def test_a_fault_of_an_image_is_found(tmp_path: Path) -> None:
    broken = tmp_path / "Dockerfile"
    broken.write_text((DEPLOY / "Dockerfile").read_text().replace("node:22-bookworm-slim", "node"))
    assert "DL3006" in hadolint(broken).stdout


def test_all_that_is_imported_where_it_runs_is_a_dependency() -> None:
    """What tests and tools bring along is not in the image."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[^\w-]", line)[0].lower() for line in project["dependencies"]}
    distributions = metadata.packages_distributions()
    missing = {}
    for package in ("pysfu", "control_plane"):
        for path in (ROOT / package).rglob("*.py"):
            for module in imported(ast.parse(path.read_text())):
                names = {name.lower().replace("_", "-") for name in distributions.get(module, ())}
                known = module in sys.stdlib_module_names or module in ("pysfu", "control_plane")
                if not known and not names & declared and module not in BROUGHT:
                    missing[module] = path.relative_to(ROOT)
    assert missing == {}


def imported(tree: ast.Module) -> set[str]:
    """Packages, wherever in the file they are imported."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
    return {name.partition(".")[0] for name in found}


def test_the_image_is_made_of_what_is_there() -> None:
    """What it copies is in the repository and not left out, and its compiler is new enough."""
    text = (DEPLOY / "Dockerfile").read_text()
    kept = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    copied = [
        word for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE) for word in line.split()[:-1] if word
    ]
    assert len(copied) > 10
    for word in copied:
        assert (ROOT / word).exists(), word
        assert f"!{word.partition('/')[0]}" in kept, word
    rust = re.search(r"FROM rust:(\d+)\.(\d+)", text)
    wanted = re.search(r'rust-version = "(\d+)\.(\d+)"', (ROOT / "Cargo.toml").read_text())
    assert rust is not None
    assert wanted is not None
    assert (int(rust[1]), int(rust[2])) >= (int(wanted[1]), int(wanted[2]))
    python = re.search(r"FROM python:(\d+\.\d+)", text)
    assert python is not None
    assert python[1] == "3.11", "the version that requirements.lock was made for"
    assert shutil.which("nats-server"), "the tests above need it"


def test_what_checks_brings_no_other_versions() -> None:
    """It is installed beside what requirements.lock pins."""
    pins = [
        dict(re.findall(r"^([\w-]+)==(\S+)", path.read_text().lower(), re.MULTILINE))
        for path in (
            DEPLOY / "lint" / "requirements.txt",
            ROOT / "requirements.lock",
        )
    ]
    common = pins[0].keys() & pins[1].keys()
    assert common
    assert {name: pins[0][name] for name in common} == {name: pins[1][name] for name in common}
