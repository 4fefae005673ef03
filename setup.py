"""Builds both native parts: the Rust core by maturin, the Cython batch reader by Cython.

`PYSFU_PROFILE` picks the cargo profile of the core: `release` (the default) or `dev`, which compiles faster.
The inner loop is `python setup.py build_ext --inplace`.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import zipfile
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()


class RustExtension(Extension):
    """A PyO3 module of the cargo workspace. The stable ABI, so one build serves every Python from 3.11."""

    def __init__(self, name: str, manifest: str) -> None:
        super().__init__(name, sources=[], py_limited_api=True)
        self.manifest = manifest


class BuildNative(build_ext):
    def build_extension(self, ext: Extension) -> None:
        if isinstance(ext, RustExtension):
            self.build_rust(ext)
        else:
            super().build_extension(ext)

    def build_rust(self, ext: RustExtension) -> None:
        profile = os.environ.get("PYSFU_PROFILE", "release")
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as wheels:
            command = [maturin(), "build", "--manifest-path", str(ROOT / ext.manifest), "--profile", profile]
            command += ["--interpreter", sys.executable, "--auditwheel", "skip", "--out", wheels, "--locked"]
            subprocess.run(command, check=True, cwd=ROOT)
            (wheel,) = Path(wheels).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                (module,) = (name for name in archive.namelist() if name.endswith(".so"))
                # Written beside and renamed: a process that runs the old module keeps its own copy.
                fresh = target.with_suffix(".new")
                with archive.open(module) as source, fresh.open("wb") as sink:
                    shutil.copyfileobj(source, sink)
                fresh.chmod(0o755)
                fresh.replace(target)

    def copy_extensions_to_source(self) -> None:
        # setuptools would copy over the module that is in use; an unlinked file stays valid for who has it open.
        build_py = self.get_finalized_command("build_py")
        for ext in self.extensions:
            inplace_file, _ = self._get_inplace_equivalent(build_py, ext)
            Path(inplace_file).unlink(missing_ok=True)
        super().copy_extensions_to_source()


def maturin() -> str:
    """The maturin program: of the build environment when isolated, else beside the interpreter."""
    folders = [os.environ.get("PATH", ""), sysconfig.get_path("scripts"), str(Path(sys.executable).parent)]
    scripts = os.pathsep.join(folders)
    found = shutil.which("maturin", path=scripts)
    if found is None:
        raise SystemExit("maturin is not installed: pip install maturin")
    if shutil.which("cargo") is None:
        raise SystemExit("cargo is not on PATH: the core is written in Rust, see https://rustup.rs")
    return found


def version() -> str:
    with (ROOT / "Cargo.toml").open("rb") as file:
        return str(tomllib.load(file)["workspace"]["package"]["version"])


setup(
    version=version(),
    ext_modules=[
        *cythonize(
            [Extension("pysfu._rtp", ["pysfu/_rtp.pyx"], extra_compile_args=["-O3"])],
            build_dir="build/cython",
            compiler_directives={"language_level": 3},
        ),
        RustExtension("pysfu._core", "sfu_core/python/Cargo.toml"),
    ],
    cmdclass={"build_ext": BuildNative},
)
