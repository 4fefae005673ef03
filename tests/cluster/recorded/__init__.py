"""What nodes of former releases say to each other, as it went over the wire."""

from pathlib import Path

FOLDER = Path(__file__).parent


def messages(name: str) -> list[bytes]:
    """Of one recording, in order. In the file each is preceded by its length, four octets, most significant first."""
    content, found = (FOLDER / f"{name}.bin").read_bytes(), []
    while content:
        size = int.from_bytes(content[:4])
        found.append(content[4 : 4 + size])
        content = content[4 + size :]
    return found


def write(name: str, said: list[bytes]) -> None:
    content = b"".join(len(message).to_bytes(4) + message for message in said)
    (FOLDER / f"{name}.bin").write_bytes(content)
