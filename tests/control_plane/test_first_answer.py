"""Several are asked in turn: who answers first, and what it costs when some do not."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from control_plane.errors import NotFoundError, UnavailableError
from control_plane.services import first_answer as module
from control_plane.services.first_answer import first_answer


class Asked:
    """Those who are asked, each with what it does: an answer, an error, or None for nothing ever."""

    def __init__(self, *does: str | Exception | None) -> None:
        self.order: list[int] = []
        self.cancelled: list[int] = []
        self.calls: list[Callable[[], Awaitable[str]]] = [
            partial(self._call, number, what) for number, what in enumerate(does)
        ]

    async def run(self) -> str:
        return await first_answer(self.calls, lambda error: isinstance(error, NotFoundError))

    async def _call(self, number: int, what: str | Exception | None) -> str:
        self.order.append(number)
        if isinstance(what, Exception):
            raise what
        if what is None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.append(number)
                raise
        assert what is not None
        return what


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.01)


@pytest.mark.parametrize(
    ("does", "order", "answer"),
    [
        (["one", "two"], [0], "one"),
        ([UnavailableError("gone"), "two", "three"], [0, 1], "two"),
        ([UnavailableError("gone"), UnavailableError("gone"), "three"], [0, 1, 2], "three"),
        ([UnavailableError("gone"), NotFoundError("not here"), "three"], [0, 1, 2], "three"),
    ],
    ids=["the first", "the second at once", "the third", "who knows more"],
)
async def test_who_answers(does: list[str | Exception], order: list[int], answer: str) -> None:
    asked = Asked(*does)
    async with asyncio.timeout(module.PATIENCE / 2):
        assert await asked.run() == answer
    assert asked.order == order


@pytest.mark.usefixtures("hasty")
async def test_who_says_nothing_does_not_cost_the_answer_and_is_asked_no_longer() -> None:
    asked = Asked(None, None, "three")
    assert await asked.run() == "three"
    assert sorted(asked.cancelled) == [0, 1]


@pytest.mark.usefixtures("hasty")
async def test_who_is_slow_may_still_answer_first() -> None:
    slow: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def second() -> str:
        slow.set_result("slow")
        await asyncio.Event().wait()
        return "never"

    assert await first_answer([lambda: slow, second], lambda _: False) == "slow"


@pytest.mark.parametrize(
    ("does", "text"),
    [
        ([NotFoundError("no such room"), "two"], "no such room"),
        ([UnavailableError("gone"), NotFoundError("not here"), UnavailableError("gone too")], "not here"),
        ([UnavailableError("gone"), UnavailableError("gone too")], "gone$"),
    ],
    ids=["the first refuses", "another refuses", "nobody answers"],
)
async def test_what_is_told_without_an_answer(does: list[str | Exception], text: str) -> None:
    with pytest.raises((NotFoundError, UnavailableError), match=text):
        await Asked(*does).run()


async def test_a_call_whose_channel_is_closed_is_one_that_fails() -> None:
    async def closed() -> str:
        raise asyncio.CancelledError

    assert await first_answer([closed, *Asked("two").calls], lambda _: False) == "two"


async def test_who_gives_up_asks_nobody_any_longer() -> None:
    asked = Asked(None, "two")
    asking = asyncio.create_task(asked.run())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert (asked.order, asked.cancelled) == ([0], [0])
