"""Asks the databases of vulnerabilities about everything in the three lock files.

    python -m audit.advisories [--strict] [--osv URL]

OSV (osv.dev) knows crates (RustSec), Python and npm packages; where it cannot be reached, `pip-audit` and `npm audit`
ask for theirs. What nobody could be asked about is said to be so, and is an error with `--strict` alone: it is not the
fault of a change.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from audit.policy import ROOT

OSV: Final = "https://api.osv.dev/v1/querybatch"
# What OSV takes at once.
BATCH: Final = 1_000
TIMEOUT: Final = 20.0


@dataclass(frozen=True, slots=True)
class Package:
    """`ecosystem` as OSV names it."""

    ecosystem: str
    name: str
    version: str


@dataclass(slots=True)
class Answer:
    """Of one ecosystem. `found`: "name version: advisory". `unasked`: why some or all could not be asked about."""

    found: list[str] = field(default_factory=list)
    unasked: str = ""


class UnreachableError(Exception):
    """The database did not answer; the text says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """0: nothing is known, 1: something is, 2: `--strict` and not everything could be asked about."""
    parser = argparse.ArgumentParser(description="Ask databases of vulnerabilities about the lock files.")
    parser.add_argument("--strict", action="store_true", help="fail where a database cannot be reached")
    parser.add_argument("--osv", default=OSV, help="where OSV's querybatch is")
    options = parser.parse_args(arguments)
    own: dict[str, Callable[[], Answer]] = {"PyPI": pip_audit, "npm": npm_audit}
    found, unasked = False, False
    for ecosystem, packages in (("crates.io", crates()), ("PyPI", python()), ("npm", npm())):
        answer = ask(packages, options.osv, own.get(ecosystem))
        for advisory in answer.found:
            sys.stderr.write(f"{ecosystem}: {advisory}\n")
        if answer.unasked:
            sys.stderr.write(f"warning: {ecosystem}: NOT AUDITED ({answer.unasked})\n")
        elif not answer.found:
            sys.stdout.write(f"{ecosystem}: nothing is known against {len(packages)} packages\n")
        found, unasked = found or bool(answer.found), unasked or bool(answer.unasked)
    return 1 if found else 2 if unasked and options.strict else 0


def crates(lock: Path = ROOT / "Cargo.lock") -> list[Package]:
    """Those of registries."""
    packages = tomllib.loads(lock.read_text())["package"]
    return [Package("crates.io", one["name"], one["version"]) for one in packages if "source" in one]


def python(lock: Path = ROOT / "requirements.lock") -> list[Package]:
    lines = (
        line.split("==") for line in lock.read_text().splitlines() if "==" in line and not line.startswith(("#", " "))
    )
    return [Package("PyPI", name.strip(), version.split()[0]) for name, version in lines]


def npm(lock: Path = ROOT / "web/package-lock.json") -> list[Package]:
    """What the client is made of, without what it is built with."""
    packages = json.loads(lock.read_text())["packages"].items()
    made_of = ((path.rpartition("node_modules/")[2], one) for path, one in packages if path and not one.get("dev"))
    return [Package("npm", one.get("name", name), one["version"]) for name, one in made_of]


def ask(packages: Sequence[Package], url: str, other: Callable[[], Answer] | None) -> Answer:
    """OSV, or the ecosystem's own tool."""
    try:
        return Answer(ask_osv(packages, url))
    except UnreachableError as error:
        reason = str(error)
    if other is None:
        return Answer(unasked=reason)
    answer = other()
    if answer.unasked:
        answer.unasked = f"{reason}; {answer.unasked}"
    return answer


def ask_osv(packages: Sequence[Package], url: str) -> list[str]:
    """Raises UnreachableError."""
    found = []
    for start in range(0, len(packages), BATCH):
        batch = packages[start : start + BATCH]
        queries = [{"package": {"ecosystem": one.ecosystem, "name": one.name}, "version": one.version} for one in batch]
        body = json.dumps({"queries": queries}).encode()
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310
                results = json.load(response)["results"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UnreachableError(f"{url} does not answer: {error}") from error
        if len(results) != len(batch):
            raise UnreachableError(f"{url} answers {len(results)} of {len(batch)} questions")
        for package, result in zip(batch, results, strict=True):
            found += [f"{package.name} {package.version}: {one['id']}" for one in result.get("vulns", [])]
    return found


def pip_audit() -> Answer:
    options = ("--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json")
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(ROOT / "requirements.lock"), *options]
    said = subprocess.run(command, capture_output=True, check=False)  # noqa: S603
    try:
        return read_pip_audit(json.loads(said.stdout))
    except ValueError:
        return Answer(unasked=f"pip-audit: {last_line(said.stderr)}")


def read_pip_audit(report: Any) -> Answer:
    """What it skips it does not count as a failure; we do."""
    packages = report["dependencies"]
    found = [f"{one['name']} {one['version']}: {bad['id']}" for one in packages for bad in one.get("vulns", [])]
    skipped = [one for one in packages if "skip_reason" in one]
    why = f"pip-audit: {len(skipped)} of {len(packages)} are not known to it" if skipped else ""
    return Answer(found, why)


def npm_audit() -> Answer:
    command = [shutil.which("npm") or "npm", "audit", "--omit=dev", "--json"]
    try:
        said = subprocess.run(command, cwd=ROOT / "web", capture_output=True, check=False)  # noqa: S603
        return read_npm_audit(json.loads(said.stdout))
    except (OSError, ValueError) as error:
        return Answer(unasked=f"npm audit: {error}")


def read_npm_audit(report: Any) -> Answer:
    if "vulnerabilities" not in report:
        return Answer(unasked=f"npm audit: {report.get('message') or 'no report'}")
    return Answer([f"{name}: {one['severity']}, {one['range']}" for name, one in report["vulnerabilities"].items()])


def last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "says nothing"


if __name__ == "__main__":
    sys.exit(main())
