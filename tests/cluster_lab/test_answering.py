"""Programs that answer lines with lines of JSON."""

import asyncio
import sys

import pytest

from bench.cluster.lab.answering import Answering
from bench.cluster.lab.processes import LabError

ECHO = """
import json, sys
print(json.dumps({"here": True}), flush=True)
for line in sys.stdin:
    order = line.strip()
    if order == "end":
        sys.exit("it was told to end")
    print(json.dumps({"told": order}), flush=True)
print("goodbye", file=sys.stderr, flush=True)
"""


async def test_it_answers_each_order_and_says_goodbye() -> None:
    program = Answering("echo", [sys.executable, "-c", ECHO], None)
    assert await program.come(20) == {"here": True}
    answers = await asyncio.gather(*(program.ask(order, 20) for order in ("look", "report")))
    assert list(answers) == [{"told": "look"}, {"told": "report"}]
    await program.leave()


async def test_one_that_ended_tells_what_it_wrote() -> None:
    program = Answering("echo", [sys.executable, "-c", ECHO], None)
    await program.come(20)
    with pytest.raises(LabError, match="it was told to end"):
        await program.ask("end", 20)
    await program.leave()


async def test_one_that_does_not_come_is_ended() -> None:
    with pytest.raises(TimeoutError):
        await Answering("silent", [sys.executable, "-c", "import time; time.sleep(60)"], None).come(0.2)
