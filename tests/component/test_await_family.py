"""Which tasks work for a task: found through whatever it waits with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aeros.worker.report.task_stacks import await_stack, family


async def leaf() -> None:
    await asyncio.sleep(60)


async def directly() -> None:
    await asyncio.create_task(leaf())


async def by_wait() -> None:
    await asyncio.wait([asyncio.create_task(leaf())])


async def by_gather() -> None:
    await asyncio.gather(leaf(), asyncio.sleep(60))


async def by_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(leaf())


async def two_deep() -> None:
    await asyncio.create_task(by_wait())


@pytest.mark.parametrize("parent", [directly, by_wait, by_gather, by_group, two_deep])
def test_the_leaf_is_found(parent: Callable[[], Awaitable[Any]]) -> None:
    async def main() -> None:
        stranger = asyncio.create_task(leaf())
        task = asyncio.ensure_future(parent())
        for _ in range(5):
            await asyncio.sleep(0)
        found = family(task)
        assert found[0] is task
        assert stranger not in found
        assert any("in leaf" in line for one in found[1:] for line in await_stack(one))
        assert not any("in leaf" in line for line in await_stack(task))
        stranger.cancel()
        for one in found:
            one.cancel()
        await asyncio.gather(stranger, *found, return_exceptions=True)

    asyncio.run(main())
