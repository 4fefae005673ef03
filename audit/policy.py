"""Holds Cargo.lock, requirements.lock and the package-lock.json of npm against deny.toml: licences, sources, bans.

    python -m audit.policy

It asks nobody: crates and npm packages say in their metadata what they are, Python packages where they are installed.
"""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from audit.spdx import allows

ROOT: Final = Path(__file__).parent.parent
NPM_LOCKS: Final = ("web/package-lock.json", "deploy/lint/package-lock.json")
NPM_REGISTRY: Final = re.compile(r"https://registry\.npmjs\.org/")
# File-wise copyleft of tools and of data: nothing of ours is in their files.
PYTHON_EXCEPTIONS: Final = {"certifi": "MPL-2.0", "pathspec": "MPL-2.0"}
# Of what the web client is built with, and not of.
TOOLS: Final = frozenset({"BlueOak-1.0.0", "CC-BY-4.0", "MPL-2.0", "Python-2.0"})
# What Python packages that are older than licence expressions (PEP 639) call theirs.
CLASSIFIERS: Final = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}


def main() -> int:
    policy = tomllib.loads((ROOT / "deny.toml").read_text())
    allowed = frozenset(policy["licenses"]["allow"])
    command = [shutil.which("cargo") or "cargo", "metadata", "--format-version", "1", "--locked", "--all-features"]
    crates = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)  # noqa: S603
    locks = [json.loads((ROOT / path).read_text()) for path in NPM_LOCKS]
    names = pinned((ROOT / "requirements.lock").read_text())
    problems = [*check_crates(crates, policy, allowed), *check_python(names, allowed)]
    problems += [problem for lock in locks for problem in check_npm(lock, allowed)]
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    if not problems:
        sys.stdout.write(f"licences, sources and bans: {len(crates['packages'])} crates, ")
        packages = sum(len(lock["packages"]) - 1 for lock in locks)
        sys.stdout.write(f"{packages} npm packages, {len(names)} Python packages\n")
    return 1 if problems else 0


def check_crates(found: dict[str, Any], policy: dict[str, Any], allowed: frozenset[str]) -> Iterator[str]:
    """`found` is what `cargo metadata` says."""
    registries = tuple(f"registry+{url}" for url in policy["sources"]["allow-registry"])
    banned = {ban["name"]: ban.get("wrappers", []) for ban in policy["bans"]["deny"]}
    for package in found["packages"]:
        name = f"crate {package['name']} {package['version']}"
        if not allows(package["license"] or "", allowed):
            yield f"{name}: licence {package['license']!r} is not allowed"
        source = package["source"]
        if source is not None and not source.startswith(registries):
            yield f"{name}: comes from {source}"
        for dependency in package["dependencies"]:
            if dependency["req"] == "*" and source is None and "path" not in dependency:
                yield f"{name}: depends on any version of {dependency['name']}"
    names = {package["id"]: package["name"] for package in found["packages"]}
    for node in found["resolve"]["nodes"]:
        user = names[node["id"]]
        for dependency in node["deps"]:
            wanted = names[dependency["pkg"]]
            if user not in banned.get(wanted, [user]):
                yield f"crate {user}: depends on {wanted}, which is banned there"


def check_npm(lock: dict[str, Any], allowed: frozenset[str]) -> Iterator[str]:
    """`lock` is package-lock.json, version 3. It need not name the registry: integrity says which package it is."""
    for path, package in lock["packages"].items():
        if not path:
            continue
        name = f"npm {path.rpartition('node_modules/')[2]} {package.get('version', '')}"
        licence = str(package.get("license", ""))
        if not allows(licence, allowed | TOOLS if package.get("dev") else allowed):
            yield f"{name}: licence {licence!r} is not allowed"
        if not NPM_REGISTRY.match(package.get("resolved", "https://registry.npmjs.org/")):
            yield f"{name}: comes from {package['resolved']}"
        # What another package brings within itself is covered by that one's.
        if not package.get("integrity") and not package.get("inBundle"):
            yield f"{name}: has no integrity"


def pinned(lock: str) -> list[str]:
    """Names in requirements.lock."""
    return re.findall(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==", lock, re.MULTILINE)


def check_python(names: list[str], allowed: frozenset[str]) -> Iterator[str]:
    for name in names:
        try:
            about = metadata.metadata(name)
        except metadata.PackageNotFoundError:
            yield f"Python {name}: is not installed"
            continue
        licence = python_licence(about)
        if not allows(licence, allowed | {PYTHON_EXCEPTIONS.get(name, "")}):
            yield f"Python {name}: licence {licence!r} is not allowed"


def python_licence(about: Any) -> str:
    """An expression, of the package's metadata. Several classifiers are taken as a choice."""
    if about.get("License-Expression"):
        return str(about["License-Expression"])
    classifiers = [one.rpartition(" :: ")[2] for one in about.get_all("Classifier", []) if one.startswith("License ::")]
    known = [CLASSIFIERS[one] for one in classifiers if one in CLASSIFIERS]
    if known:
        return " OR ".join(known)
    text = str(about.get("License") or "")
    return CLASSIFIERS.get(text, text)


if __name__ == "__main__":
    sys.exit(main())
