"""Settings: which source wins, and what wrong ones are told."""

from pathlib import Path

import pytest

from control_plane.config import ConfigError, load

SECRET = "s" * 32


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYSFU_DEV", "PYSFU_KEYS", "PYSFU_HTTP_PORT", "PYSFU_WORKERS"):
        monkeypatch.delenv(name, raising=False)


def test_flags_win_over_environment_over_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pysfu.toml"
    file.write_text(f'http_port = 1001\ngrpc_port = 1002\nudp_port = 1003\n[keys]\nfile = "{SECRET}"\n')
    monkeypatch.setenv("PYSFU_HTTP_PORT", "2001")
    monkeypatch.setenv("PYSFU_GRPC_PORT", "2002")
    settings = load({"http_port": 3001}, file)
    assert (settings.http_port, settings.grpc_port, settings.udp_port) == (3001, 2002, 1003)
    assert settings.api_keys() == {"file": SECRET}


def test_keys_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYSFU_KEYS", f"one: {SECRET}, two: {SECRET}2")
    assert load({}).api_keys() == {"one": SECRET, "two": SECRET + "2"}


def test_dev_binds_the_loopback_and_has_a_key() -> None:
    settings = load({"dev": True})
    assert settings.api_keys() == {"devkey": "secret"}
    assert set(settings.http_addresses()) <= {"127.0.0.1", "::1"}
    assert set(settings.media_addresses()) <= {"127.0.0.1", "::1"}
    assert settings.grpc_address() == "127.0.0.1:7890"
    told = load({"dev": True, "media_ips": ["192.0.2.1"], "http_host": ["0.0.0.0"]})
    assert (told.media_addresses(), told.http_addresses()) == (["192.0.2.1"], ["0.0.0.0"])


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "keys: none given"),
        ({"keys": {"k": "short"}}, "keys: the secret of 'k' has fewer than 32"),
        ({"dev": True, "http_port": 70_000}, "http_port: "),
        ({"dev": True, "workers": 0}, "workers: "),
        ({"dev": True, "media_ips": ["nowhere"]}, "media_ips: 'nowhere' is no IP address"),
        ({"dev": True, "colour": "red"}, "colour: no such setting"),
        ({"dev": True, "tls_cert": "/nonexistent"}, "tls_key: a certificate and its key"),
        ({"dev": True, "udp_port": 65_535, "workers": 2}, "udp_port: 2 workers"),
        ({"dev": True, "start_bitrate": 900_000, "max_bitrate": 800_000}, "start_bitrate: 900000 is above"),
        ({"dev": True, "log_level": "loud"}, "log_level: "),
        ({"keys": "nonsense"}, "keys: must be `key: secret`"),
    ],
)
def test_faults_are_named(given: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(given)
    assert named in str(refused.value)
    assert all(line for line in str(refused.value).splitlines())


@pytest.mark.parametrize(("content", "named"), [("x = [", "config"), ("colour = 1", "colour: no such setting")])
def test_bad_files_are_named(tmp_path: Path, content: str, named: str) -> None:
    file = tmp_path / "pysfu.toml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=named):
        load({"dev": True}, file)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load({"dev": True}, tmp_path / "none.toml")


def test_secrets_are_not_printed() -> None:
    assert SECRET not in repr(load({"keys": {"k": SECRET}}))
