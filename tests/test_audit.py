"""What may be depended on, and what is known against it."""

import json
import threading
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from audit import advisories
from audit.advisories import Package, UnreachableError, ask_osv, read_npm_audit, read_pip_audit
from audit.policy import check_crates, check_npm, pinned, python_licence
from audit.spdx import allows

ALLOWED = frozenset({"MIT", "Apache-2.0", "ISC", "Apache-2.0 WITH LLVM-exception"})


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("MIT OR GPL-3.0-only", True),
        ("GPL-3.0-only OR MIT", True),
        ("MIT AND GPL-3.0-only", False),
        ("MIT/GPL-3.0-only", True),
        ("GPL-2.0 / Apache-2.0", True),
        ("(MIT OR GPL-2.0) AND ISC", True),
        ("(MIT OR GPL-2.0) AND BSL-1.1", False),
        ("MIT OR GPL-2.0 AND BSL-1.1", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("MIT WITH LLVM-exception", False),
        ("GPL-3.0-only WITH x OR MIT", True),
        ("", False),
        ("(MIT", False),
        ("MIT)", False),
        ("MIT Apache-2.0", False),
        ("MIT OR", False),
        ("SEE LICENSE IN x", False),
    ],
)
def test_licence_expressions(expression: str, expected: bool) -> None:
    assert allows(expression, ALLOWED) is expected


def crate(name: str, **changes: Any) -> dict[str, Any]:
    source = "registry+https://example.org/index"
    return {"id": name, "name": name, "version": "1", "license": "MIT", "source": source, "dependencies": []} | changes


def uses(user: str, *used: str) -> dict[str, Any]:
    return {"id": user, "deps": [{"pkg": one} for one in used]}


def test_crates_are_held_against_the_policy() -> None:
    policy = {
        "sources": {"allow-registry": ["https://example.org/index"]},
        "bans": {"deny": [{"name": "bad", "wrappers": ["may"]}]},
    }
    packages = [
        crate("good"),
        crate("own", source=None, dependencies=[{"name": "good", "req": "*"}]),
        crate("bad"),
        crate("may"),
        crate("copyleft", license="GPL-3.0-only"),
        crate("silent", license=None),
        crate("fork", source="git+https://example.org/fork"),
    ]
    nodes = [uses("own", "good", "bad"), uses("may", "bad"), uses("good")]
    found = check_crates({"packages": packages, "resolve": {"nodes": nodes}}, policy, ALLOWED)
    assert sorted(found) == [
        "crate copyleft 1: licence 'GPL-3.0-only' is not allowed",
        "crate fork 1: comes from git+https://example.org/fork",
        "crate own 1: depends on any version of good",
        "crate own: depends on bad, which is banned there",
        "crate silent 1: licence None is not allowed",
    ]


def test_npm_packages_are_held_against_the_policy() -> None:
    good = {"version": "1", "license": "MIT", "integrity": "sha512-x"}
    lock = {
        "packages": {
            "": {},
            "node_modules/good": good | {"resolved": "https://registry.npmjs.org/good/-/good-1.tgz"},
            "node_modules/a/node_modules/@b/tool": good | {"license": "MPL-2.0", "dev": True},
            "node_modules/part": good | {"license": "MPL-2.0"},
            "node_modules/fork": good | {"resolved": "git+ssh://git@example.org/fork.git"},
            "node_modules/loose": {"version": "1", "license": "MIT"},
        }
    }
    assert list(check_npm(lock, ALLOWED)) == [
        "npm part 1: licence 'MPL-2.0' is not allowed",
        "npm fork 1: comes from git+ssh://git@example.org/fork.git",
        "npm loose 1: has no integrity",
    ]


def test_python_packages_name_their_licence_in_three_ways() -> None:
    def about(*headers: tuple[str, str]) -> Message:
        message = Message()
        for name, value in headers:
            message.add_header(name, value)
        return message

    classifier = "License :: OSI Approved :: "
    assert python_licence(about(("License-Expression", "MIT"), ("License", "other"))) == "MIT"
    both = about(("Classifier", classifier + "MIT License"), ("Classifier", classifier + "Apache Software License"))
    assert python_licence(both) == "MIT OR Apache-2.0"
    assert python_licence(about(("License", "BSD"))) == "BSD-3-Clause"
    assert python_licence(about()) == ""
    assert pinned("# x==1\nA.b-c==1.0\n    # via d==2\nuvloop==3 ; sys_platform\n") == ["A.b-c", "uvloop"]


class Osv(BaseHTTPRequestHandler):
    """Knows of one bad package."""

    def do_POST(self) -> None:
        queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        if len(queries) > 1_000:
            self.send_error(400)
            return
        bad = {"package": {"ecosystem": "crates.io", "name": "bad"}, "version": "1"}
        results = [{"vulns": [{"id": "RUSTSEC-1", "modified": ""}]} if one == bad else {} for one in queries]
        body = json.dumps({"results": results if self.path == "/all" else results[1:]}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def osv() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Osv) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_osv_is_asked_in_batches(osv: str) -> None:
    packages = [Package("crates.io", f"good-{index}", "1") for index in range(1_500)]
    assert ask_osv(packages, f"{osv}/all") == []
    packages.insert(1_200, Package("crates.io", "bad", "1"))
    assert ask_osv(packages, f"{osv}/all") == ["bad 1: RUSTSEC-1"]


@pytest.mark.parametrize("path", ["/fewer", None])
def test_no_answer_is_never_a_pass(osv: str, path: str | None) -> None:
    url = f"{osv}{path}" if path else "http://127.0.0.1:1/"
    with pytest.raises(UnreachableError):
        ask_osv([Package("crates.io", "a", "1")], url)


@pytest.mark.parametrize(("flags", "code"), [([], 0), (["--strict"], 2)])
def test_what_could_not_be_asked_about_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flags: list[str], code: int
) -> None:
    for tool in ("pip_audit", "npm_audit"):
        monkeypatch.setattr(advisories, tool, lambda: advisories.Answer(unasked="away"))
    assert advisories.main([*flags, "--osv", "http://127.0.0.1:1/"]) == code
    said = capsys.readouterr()
    assert said.err.count("NOT AUDITED") == 3
    assert not said.out


def test_everything_is_asked_about(osv: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert advisories.main(["--strict", "--osv", f"{osv}/all"]) == 0
    assert capsys.readouterr().out.count("nothing is known") == 3
    assert len(advisories.crates()) > 200
    assert {one.name for one in advisories.npm()} >= {"react", "livekit-client"}
    assert {one.name for one in advisories.python()} >= {"aiohttp", "uvloop"}


def test_a_bad_package_fails(monkeypatch: pytest.MonkeyPatch, osv: str, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(advisories, "crates", lambda: [Package("crates.io", "bad", "1")])
    assert advisories.main(["--osv", f"{osv}/all"]) == 1
    assert "crates.io: bad 1: RUSTSEC-1" in capsys.readouterr().err


def test_reports_of_other_tools() -> None:
    report = {
        "dependencies": [
            {"name": "a", "version": "1", "vulns": [{"id": "PYSEC-1"}]},
            {"name": "b", "skip_reason": "Dependency not found on PyPI"},
        ]
    }
    answer = read_pip_audit(report)
    assert (answer.found, answer.unasked) == (["a 1: PYSEC-1"], "pip-audit: 1 of 2 are not known to it")
    assert read_npm_audit({"message": "405 Method Not Allowed"}).unasked == "npm audit: 405 Method Not Allowed"
    bad = {"vulnerabilities": {"x": {"severity": "high", "range": "<2"}}}
    assert read_npm_audit(bad).found == ["x: high, <2"]
