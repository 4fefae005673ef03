"""The cost of forwarding does not creep up: instructions per packet under callgrind, against the record."""

import json
import shutil

import pytest

from bench.instructions import CASES, RECORD, TOLERANCE, build, judge, measure

RECORDED = json.loads(RECORD.read_text())


@pytest.mark.timeout(900)
def test_instructions_per_forwarded_packet() -> None:
    assert shutil.which("valgrind"), "valgrind is missing: `make test` installs it"
    program = build()
    measured = {case: measure(program, arguments)[0] for case, arguments in CASES.items()}
    assert judge(RECORDED, measured) == []


@pytest.mark.parametrize(
    ("measured", "wrong"),
    [
        ({"a": 100.0}, 0),
        ({"a": 100.0 * (1 + TOLERANCE * 0.9)}, 0),
        ({"a": 100.0 * (1 + TOLERANCE * 1.1)}, 1),
        ({"a": 100.0 * (1 - TOLERANCE * 1.1)}, 1),
        ({}, 1),
        ({"a": 100.0, "b": 1.0}, 1),
    ],
)
def test_what_fails(measured: dict[str, float], wrong: int) -> None:
    assert len(judge({"a": 100.0}, measured)) == wrong
