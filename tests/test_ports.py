"""Numbers that several runs of tests on one machine share."""

import asyncio
import sys

from tests.e2e.harness.ports import PORTS, Numbers, free_port, free_ports

KIND = "ports-tested"
TAKES = f"""
import sys
from tests.e2e.harness.ports import Numbers
numbers = Numbers({KIND!r})
print([numbers.take(*group) for group in ([1], [2, 3], [3], [4])], flush=True)
sys.stdin.read()
"""


async def test_what_another_process_has_is_not_given_until_it_ends() -> None:
    mine = Numbers(KIND)
    assert mine.take(2)
    pipe = asyncio.subprocess.PIPE
    other = await asyncio.create_subprocess_exec(sys.executable, "-c", TAKES, stdin=pipe, stdout=pipe)
    assert other.stdout is not None
    try:
        # All or none: 3 was not kept when 2 was not to be had.
        assert await asyncio.wait_for(other.stdout.readline(), 10) == b"[True, False, True, True]\n"
        assert [mine.take(number) for number in (1, 3, 4, 5)] == [False, False, False, True]
    finally:
        other.kill()
        await other.wait()
    assert [mine.take(number) for number in (1, 3, 4, 5)] == [True, True, True, False]
    mine.give_back(1, 2, 3, 4, 5)


def test_nobody_is_given_a_port_twice() -> None:
    ports = [free_port() for _ in range(20)]
    base = free_ports([-3, 0, 100])
    assert len({*ports, base - 3, base, base + 100}) == 23
    assert all(port in PORTS for port in (*ports, base - 3, base + 100))
