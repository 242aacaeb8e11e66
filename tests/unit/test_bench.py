"""The pure parts of scripts/bench: statistics, and the reading of what the kernel and the load generators say."""

import os
from typing import Any

import pytest

from benchmarks import memory, plot, proc, speed
from benchmarks.load import LoadError, parse_h2load, parse_wrk, span_s
from benchmarks.report import table_of
from benchmarks.statistics import Summary, paired_ratio, percentile, skew

ROLLUP = """55eefe94a000-7ffd26379000 ---p 00000000 00:00 0                          [rollup]
Rss:                1676 kB
Pss:                 265 kB
Pss_Dirty:           116 kB
Pss_Anon:            116 kB
Pss_File:            149 kB
Private_Clean:         8 kB
Private_Dirty:        92 kB
Swap:                  0 kB
"""
WRK = """Running 2s test @ http://127.0.0.1:8000/json
  1 threads and 64 connections
RESULT {"requests": 9000, "duration_us": 2000000, "bytes": 1, "failed": 3, "not_2xx": 0, "p50_us": 7000, \
"p99_us": 9000, "p999_us": 12000}
"""


def test_summary_says_median_and_half_the_range_as_spread() -> None:
    summary = Summary.of([100, 90, 130, 110, 105])
    assert (summary.median, summary.low, summary.high, summary.count) == (105, 90, 130, 5)
    assert summary.spread == pytest.approx(40 / 2 / 105)


def test_summary_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        Summary.of([])


@pytest.mark.parametrize(("part", "value"), [(0, 1), (50, 50), (99, 99), (99.9, 100), (100, 100)])
def test_percentile_is_the_smallest_value_that_part_does_not_exceed(part: float, value: int) -> None:
    assert percentile(range(1, 101), part) == value


def test_paired_ratio_compares_round_by_round() -> None:
    # The machine was twice as slow in the second round, for both.
    assert paired_ratio([40, 80, 44], [100, 200, 100]).median == pytest.approx(0.4)


def test_skew_is_the_busiest_over_the_fair_share() -> None:
    assert skew([44, 19, 1, 0]) == 2.75
    assert skew([16, 16, 16, 16]) == 1.0
    assert skew([0, 0]) == 0.0


def test_pss_is_read_from_the_rollup() -> None:
    assert proc.parse_rollup(ROLLUP) == proc.Memory(pss=265, anonymous=116, private=100)


def test_stat_is_read_behind_a_name_with_spaces_and_brackets() -> None:
    line = "4711 (a (b) c) S 42 1 1 0 -1 4194560 1 2 3 4 250 150 0 0 20 0 1 0 100"
    assert proc.parse_stat(line) == (42, 400)


def test_switches_are_those_given_up_willingly() -> None:
    assert proc.parse_switches("Name:\tx\nvoluntary_ctxt_switches:\t17\nnonvoluntary_ctxt_switches:\t99\n") == 17
    with pytest.raises(ValueError, match="voluntary"):
        proc.parse_switches("Name:\tx\n")


def test_family_and_memory_of_this_very_process() -> None:
    child = os.fork()
    if child == 0:
        os.read(os.pipe()[0], 1)
    try:
        assert proc.family(os.getpid())[0] == os.getpid()
        assert child in proc.family(os.getpid())
        assert proc.memory([os.getpid(), child]).pss > 1000
        assert proc.cpu_s([os.getpid()]) > 0
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert proc.memory([child]) == proc.Memory(0, 0, 0)


def test_wrk_result_is_found_among_its_own_words() -> None:
    sample = parse_wrk(WRK)
    assert (sample.requests, sample.failed, sample.p999_us) == (9000, 3, 12000)
    assert sample.per_second == 4500


def test_answers_that_are_not_2xx_are_no_result() -> None:
    with pytest.raises(LoadError, match="5 of 9000 answers were not 2xx"):
        parse_wrk(WRK.replace('"not_2xx": 0', '"not_2xx": 5'))
    with pytest.raises(LoadError, match="unable to connect"):
        parse_wrk("unable to connect to 127.0.0.1:1")


def test_h2load_log_gives_the_times_and_the_failures() -> None:
    log = "1441663106230876\t200\t1000\n1441663106231000\t200\t3000\n1441663106231000\t503\t10\n"
    sample = parse_h2load("Application protocol: h2\n", log, 0.5)
    assert (sample.requests, sample.failed, sample.p50_us, sample.per_second) == (2, 1, 1000, 4)


def test_h2loads_time_is_that_of_its_requests() -> None:
    assert span_s("1000000\t200\t1000\n2500000\t200\t500000\n9000000\t-1\t1\n") == 2.0
    assert span_s("") == 0.0


def test_a_server_without_http2_is_said_to_be_unable() -> None:
    with pytest.raises(LoadError, match="does not speak HTTP/2"):
        parse_h2load("Application protocol: http/1.1\n", "", 1.0)


def test_tables_and_plot_are_made_of_results() -> None:
    times: dict[str, Any] = {"p50_us": [1000, 1000], "p99_us": [2000, 2000], "p999_us": [0, 0], "failed": 0}
    columns = {"cpu_us": [100, 110], "rps": [5000, 5100], **times}
    data = {"rows": {"json": {"aeros": {**columns, "cpu_us": [40, 44]}, "uvicorn": columns, "x": {"unable": "no"}}}}
    assert "| json | 42 ±5% | 105 ±5% | **0.40** | no |  |" in speed.table(data)
    assert "| json | 5050; 1.0 / 2.0 / ? | 5050; 1.0 / 2.0 / ? | no |" in speed.table(data)
    rows = [
        {"server": "aeros", "workers": 1, "pss_kb": 20480},
        {"server": "aeros", "workers": 4, "pss_kb": 35840},
        {"server": "hypercorn", "workers": 4, "pss_kb": 71680},
    ]
    assert memory.per_worker_kb(rows, "aeros") == 5120
    assert memory.per_worker_kb(rows, "hypercorn") is None
    assert "| hypercorn |  | 70 |  | 0.50 |  |" in table_of("memory", {"rows": rows})
    assert 'height="8"' in plot.bars("A & B", {"json": {"aeros": 0.4, "uvicorn": 1.0}})
