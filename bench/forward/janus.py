"""Debian's Janus with the videoroom plugin, in a network namespace where it finds an interface that it uses.

Janus gathers no candidates on a loopback interface. In a namespace of its own it gets another one, whose address the
kernel still reaches by loopback, so that its packets take the same path as everyone's. The load engine joins it there.
"""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

# Nobody outside the namespace sees them.
ADDRESS = "10.77.0.1"
PORT = 8188
UDP_PORTS = "20000-59000"

# ice_lite: the load engine is a full agent, as browsers are, and controls. Each handle has a thread, which is the
# default: with a single event loop it loses joins.
SETTINGS = {
    "janus.jcfg": f"""
general: {{
  interface = "{ADDRESS}"
  log_to_stdout = true
  debug_level = 3
  session_timeout = 60
}}
media: {{ rtp_port_range = "{UDP_PORTS}" }}
nat: {{
  full_trickle = false
  ice_lite = true
  ice_enforce_list = "{ADDRESS}"
}}
plugins: {{ disable = "{{plugins}}" }}
transports: {{ disable = "{{transports}}" }}
events: {{ broadcast = false }}
""",
    "janus.plugin.videoroom.jcfg": "general: {}\n",
    "janus.transport.websockets.jcfg": f"""
general: {{ ws = true, ws_ip = "{ADDRESS}", ws_port = {PORT}, wss = false }}
admin: {{ admin_ws = false }}
""",
}
# Of all that Debian installs, only these run.
PLUGIN, TRANSPORT = "libjanus_videoroom.so", "libjanus_websockets.so"


def configure(folder: Path, installed: Path) -> None:
    """Writes the settings into `folder`. `installed`: where Janus' plugins lie."""
    others = {
        "plugins": _others(installed / "plugins", PLUGIN),
        "transports": _others(installed / "transports", TRANSPORT),
    }
    for name, text in SETTINGS.items():
        for key, value in others.items():
            text = text.replace(f"{{{key}}}", value)
        (folder / name).write_text(text)


def installation() -> Path:
    """Debian's folder of Janus' plugins.

    Raises FileNotFoundError when Janus is not installed.
    """
    for library in sorted(Path("/usr/lib").glob("*/janus")):
        return library
    raise FileNotFoundError("Janus' plugins are not installed")


@contextlib.contextmanager
def namespace() -> Iterator[tuple[str, ...]]:
    """A network namespace with ADDRESS in it; yields the command that runs another one inside. Needs root."""
    name = f"bench-janus-{os.getpid()}"
    inside = ("ip", "netns", "exec", name)
    _run("ip", "netns", "add", name)
    try:
        _run(*inside, "ip", "link", "set", "lo", "up")
        _run(*inside, "ip", "link", "add", "media", "type", "veth", "peer", "name", "other")
        _run(*inside, "ip", "address", "add", f"{ADDRESS}/32", "dev", "media")
        for link in ("media", "other"):
            _run(*inside, "ip", "link", "set", link, "up")
        yield inside
    finally:
        _run("ip", "netns", "delete", name)


def _others(folder: Path, kept: str) -> str:
    return ",".join(sorted(path.name for path in folder.glob("*.so") if path.name != kept))


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    except subprocess.CalledProcessError as error:
        raise OSError(f"{' '.join(command)}: {error.stderr.strip()}") from error
