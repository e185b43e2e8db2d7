"""Items that another thread makes ahead of time: order, errors, an end before the last one."""

from __future__ import annotations

import threading

import pytest

from earmark.runtime.detections.reading import ahead


def readers():
    return [thread for thread in threading.enumerate() if thread.name == "earmark-reader"]


def test_items_come_in_order():
    assert list(ahead(range(1000))) == list(range(1000))
    assert list(ahead([])) == []


def test_items_are_made_while_another_is_worked_on():
    made = threading.Event()

    def items():
        yield 1
        made.set()
        yield 2

    reading = ahead(items())
    assert next(reading) == 1
    assert made.wait(10)
    assert list(reading) == [2]


def test_an_error_comes_after_the_items_before_it():
    def items():
        yield from range(3)
        raise OSError("gone")

    reading = ahead(items())
    assert [next(reading) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="gone"):
        next(reading)


def test_nothing_is_read_any_more_once_nobody_listens():
    count = []

    def items():
        for number in range(10**9):
            count.append(number)
            yield number

    reading = ahead(items())
    assert next(reading) == 0
    reading.close()
    assert not readers()
    assert len(count) <= 8
