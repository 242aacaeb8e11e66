"""`core.memory`: what is said of a program that is, or is not, made immortal."""

from __future__ import annotations

from tests.helpers.child import goes_well

SAID = """
    import gc
    from aeros.core.memory.immortal import why_mortal
    from aeros.core.log.lines import LineLog
    from aeros.core.memory.sharing import is_settled, settle_memory

    class Log(LineLog):
        said = ""

        def debug(self, text):
            Log.said += text

    settle_memory(Log(""), immortal=False)
    assert is_settled() and not Log.said
    settle_memory(Log(""))
    why = why_mortal()
    wanted = f"not immortal, and workers share less memory: {why}" if why else "objects of the program"
    assert wanted in Log.said, Log.said
    assert gc.get_freeze_count() > 1000
    print("well")
"""


def test_it_is_said_whether_the_program_is_immortal_and_why_not() -> None:
    goes_well(SAID)
