"""Items that another thread makes ahead of time: order, errors, an end before the last one."""

import threading

import pytest

from earmark.runtime.detections.reading import ahead


def readers():
    return [thread for thread in threading.enumerate() if thread.name == "earmark-reader"]


def same(item):
    return item


def test_items_come_in_order():
    assert list(ahead(range(1000), str)) == [str(number) for number in range(1000)]
    assert list(ahead([], str)) == []


def test_items_are_drawn_while_another_is_worked_on():
    drawn = threading.Event()

    def items():
        yield 1
        drawn.set()
        yield 2

    reading = ahead(items(), same)
    assert next(reading) == 1
    assert drawn.wait(10)
    assert list(reading) == [2]


def test_both_threads_make_one_item_after_the_other():
    """The reader those that wait, this thread what it would else wait for."""
    makers, busy, made = [], [], threading.Event()

    def make(item):
        assert not busy
        busy.append(item)
        makers.append(threading.current_thread().name)
        if item == 1:
            made.set()
        assert busy.pop() == item
        return item

    def items():
        yield 0
        # Nobody waits for these: all of them are made ahead.
        yield from range(1, 4)
        assert made.wait(10)

    reading = ahead(items(), make)
    assert next(reading) == 0
    assert made.wait(10)
    assert list(reading) == [1, 2, 3]
    assert "earmark-reader" in makers

    def slow():
        yield 0
        assert released.wait(10)

    released, makers[:] = threading.Event(), []
    reading = ahead(slow(), make)
    assert next(reading) == 0
    assert makers == [threading.current_thread().name]
    released.set()
    assert list(reading) == []


@pytest.mark.parametrize("where", ["drawing", "making"])
def test_an_error_comes_after_the_items_before_it(where):
    def items():
        yield from range(3)
        if where == "drawing":
            raise OSError("gone")
        yield from range(3, 9)

    def make(item):
        if item == 3:
            raise OSError("gone")
        return item

    reading = ahead(items(), make)
    assert [next(reading) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="gone"):
        next(reading)
    assert not readers()


def test_nothing_is_read_any_more_once_nobody_listens():
    count = []

    def items():
        for number in range(10**9):
            count.append(number)
            yield number

    reading = ahead(items(), same)
    assert next(reading) == 0
    reading.close()
    assert not readers()
    assert len(count) <= 8
