"""Generates `pysfu/v1/` from the `.proto` files: messages, stubs and their types.

`python protos/generate.py` writes them; `--check` writes nothing and fails when what is committed has drifted.
"""

import argparse
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "protos"
PACKAGE = Path("pysfu/v1")
INIT = '"""Messages and stubs of package `pysfu.v1`, generated from `protos/` by `protos/generate.py`."""\n'


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when the committed code differs")
    check: bool = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        fresh = generate(Path(folder))
        target = ROOT / PACKAGE
        committed = {path.name: path.read_text() for path in target.glob("*.py*") if path.is_file()}
        if check:
            drifted = sorted(name for name in fresh.keys() | committed.keys() if fresh.get(name) != committed.get(name))
            if drifted:
                print(f"{PACKAGE} has drifted, run `python protos/generate.py`: {', '.join(drifted)}", file=sys.stderr)
            return 1 if drifted else 0
        target.mkdir(parents=True, exist_ok=True)
        for name in committed.keys() - fresh.keys():
            (target / name).unlink()
        for name, text in fresh.items():
            if committed.get(name) != text:
                (target / name).write_text(text)
    return 0


def generate(folder: Path) -> dict[str, str]:
    """File name → content of every generated file."""
    files = sorted(path.relative_to(SOURCES).as_posix() for path in (SOURCES / PACKAGE).glob("*.proto"))
    scripts = Path(sysconfig.get_path("scripts"))
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={SOURCES}"]
    command += [f"--plugin=protoc-gen-{name}={scripts / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")]
    command += [f"--{output}_out={folder}" for output in ("python", "grpc_python", "mypy", "mypy_grpc")]
    subprocess.run([*command, *files], check=True, cwd=SOURCES)  # noqa: S603
    fresh = {path.name: path.read_text() for path in (folder / PACKAGE).iterdir()}
    # A file without a service yields a stub module that says nothing.
    fresh = {name: text for name, text in fresh.items() if not (name.endswith("_pb2_grpc.py") and "Stub" not in text)}
    fresh = {name: text for name, text in fresh.items() if name != "models_pb2_grpc.pyi"}
    return {"__init__.py": INIT, **fresh}


if __name__ == "__main__":
    sys.exit(main())
