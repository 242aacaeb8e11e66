"""`core.record`: what dataclass would have made, without compiling it."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any, ClassVar

import pytest

from aeros.core.record import as_dict, field, field_names, field_types, mutable, record, replace


@record
class Point:
    x: int
    y: int = 2
    names: list[str] = field(default_factory=list, compare=False)
    kind: ClassVar[str] = "point"


@record
class Place(Point):
    z: float = 0.5
    secret: str = field(default="", repr=False)


@mutable
class Counter:
    count: int = 0
    inner: Point | None = None
    later: int = field(init=False)

    def __post_init__(self) -> None:
        self.later = self.count + 1


@record(eq=False, kw_only=True)
class Alone:
    a: int
    b: int = 1


def test_fields_come_by_position_by_name_and_by_default() -> None:
    assert as_dict(Point(1)) == {"x": 1, "y": 2, "names": []}
    assert as_dict(Place(1, 3, z=4.0)) == {"x": 1, "y": 3, "names": [], "z": 4.0, "secret": ""}
    assert Point(1).names is not Point(1).names
    assert Point.y == 2 and not hasattr(Point, "names")
    assert field_names(Place) == ("x", "y", "names", "z", "secret")
    assert field_types(Point)["names"] == "list[str]"
    assert Counter(4).later == 5


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (Point, "misses 'x'"),
        (lambda: Point(1, 2, [], 4), "at most 3 positional"),  # type: ignore[call-arg]
        (lambda: Point(1, x=2), "two values for argument 'x'"),  # type: ignore[call-arg]
        (lambda: Point(1, w=2), "unexpected argument 'w'"),  # type: ignore[call-arg]
        (lambda: Alone(1), "at most 0 positional"),  # type: ignore[misc]
        (lambda: Counter(later=3), "unexpected argument 'later'"),  # type: ignore[call-arg]
        (lambda: replace(Point(1), w=2), "unexpected argument 'w'"),
    ],
)
def test_wrong_arguments_are_named(call: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        call()


def test_a_record_is_frozen() -> None:
    point = Point(1)
    with pytest.raises(dataclasses.FrozenInstanceError, match="'x'"):
        point.x = 3  # type: ignore[misc]
    with pytest.raises(AttributeError, match="'y'"):
        del point.y
    assert replace(point, x=3).x == 3 and point.x == 1
    counter = Counter()
    counter.count = 7
    assert counter.count == 7


def test_equality_hash_and_text_go_by_the_fields() -> None:
    assert Point(1) == Point(1, 2, ["not compared"]) != Point(2)
    assert Point(1) != Place(1)
    assert len({Point(1), Point(1, 2), Point(2)}) == 2
    assert repr(Place(1, secret="s")) == "Place(x=1, y=2, names=[], z=0.5)"
    assert Alone(a=1) != Alone(a=1)
    assert len({Alone(a=1), Alone(a=1)}) == 2
    with pytest.raises(TypeError, match="unhashable"):
        hash(Counter())


def test_records_are_dataclasses_to_others() -> None:
    place = Place(1, names=["a"])
    assert dataclasses.is_dataclass(Place) and dataclasses.is_dataclass(place)
    assert [item.name for item in dataclasses.fields(Place)] == list(field_names(Place))
    assert dataclasses.asdict(place) == as_dict(place)
    assert dataclasses.replace(place, x=5) == Place(5)  # type: ignore[call-arg]
    assert dataclasses.asdict(Counter(1, place)) == as_dict(Counter(1, place))
    assert pickle.loads(pickle.dumps(place)) == place == copy.copy(place) == copy.deepcopy(place)
    match place:
        case Point(x, y):
            assert (x, y) == (1, 2)
        case _:
            pytest.fail("a record matches by position")
