"""The catalogue of faults: what is injected, what must happen, and the tests that hold it; or why there is none.

`scripts/faults` runs these tests and writes docs/reliability.md from the table; a unit test holds that they exist.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One fault. tests: "file::function" under tests/. why_not: the reason where there is no test."""

    number: int
    fault: str
    expected: str
    tests: tuple[str, ...] = ()
    why_not: str = ""
    #: The injection in `tests/faults/peers.py` that does the same to other servers.
    peers: str = ""


WORKER = "integration/test_worker_death.py::"
SUPERVISOR = "integration/test_supervisor_death.py::"
STUCK = "integration/test_stuck_worker.py::"
BAD = "integration/test_bad_reload.py::"
RELOAD = "integration/test_reload.py::"
STOP = "integration/test_bounded_stop.py::"
CRASH = "integration/test_crash_loop.py::"
SIGNALS = "integration/test_signals.py::"
LISTENERS = "integration/test_listeners.py::"
CONTROL = "integration/test_control.py::"
CALLS = "faults/test_system_calls.py::"
DEBUG = "faults/test_debug.py::"
FILES = "faults/test_files.py::"
UPGRADE = "integration/test_upgrade.py::"
LOAD = "integration/test_load.py::"
STATES = "faults/test_processes.py::"

CATALOGUE = (
    Entry(1, "SIGKILL of an idle worker", "replaced, no request affected",
          (WORKER + "test_the_next_request_waits_for_the_replacement",), peers="kill a worker"),
    Entry(2, "SIGKILL of a worker under load", "only its requests in flight fail",
          (WORKER + "test_kills_under_load_cost_only_what_was_in_flight",)),
    Entry(3, "SIGKILL of all workers at once", "nobody is refused",
          (WORKER + "test_all_workers_killed_at_once_refuses_nobody",)),
    Entry(4, "SIGSEGV, SIGABRT, exit 1, exit 0", "the cause is named, the worker replaced",
          (WORKER + "test_every_way_to_die_is_named_and_the_worker_replaced", DEBUG + "test_a_worker_told_to_fail_is_replaced")),
    Entry(5, "Killed for memory", "as a SIGKILL from outside",
          (WORKER + "test_every_way_to_die_is_named_and_the_worker_replaced",)),
    Entry(6, "SIGSTOP of a worker", "noticed, killed, replaced",
          (STUCK + "test_a_stopped_process_is_replaced",), peers="stop a worker"),
    Entry(7, "SIGSTOP of the supervisor, then SIGCONT", "no worker killed",
          (SUPERVISOR + "test_a_stopped_supervisor_kills_nobody_when_it_wakes",)),
    Entry(8, "Blocked event loop", "stack in the log, killed, replaced",
          (STUCK + "test_a_stuck_loop_is_shown_killed_and_replaced",), peers="block the loop"),
    Entry(9, "Busy but progressing", "left alone",
          (STUCK + "test_a_worker_that_is_only_busy_is_left_alone", STUCK + "test_a_slow_boot_is_not_a_stuck_loop")),
    Entry(10, "Hangs between fork and ready", "bounded by the boot timeout",
          ("integration/test_failing_start.py::test_before_serving_that_hangs",
           "integration/test_failing_start.py::test_before_serving_that_blocks_is_shown_where")),
    Entry(11, "fork: EAGAIN", "one attempt a second, others serve",
          (CALLS + "test_forks_that_fail_are_tried_again_once_a_second_and_others_serve",)),
    Entry(12, "fork: ENOMEM", "as 11",
          (CALLS + "test_forks_that_fail_are_tried_again_once_a_second_and_others_serve",)),
    Entry(13, "A worker out of descriptors", "accepting pauses, requests go on, recovers",
          (STATES + "test_a_worker_out_of_descriptors_pauses_and_recovers",)),
    Entry(14, "The supervisor out of descriptors", "serves, reaps, refuses a reload, recovers",
          (CALLS + "test_the_supervisor_out_of_descriptors_serves_reaps_recovers_and_stops",)),
    Entry(15, "SIGKILL of the supervisor", "all gone in time, port free",
          (SUPERVISOR + "test_kill_9_of_the_supervisor_under_load_leaves_nothing_and_frees_the_port",
           SUPERVISOR + "test_kill_9_ends_workers_that_cannot_listen",
           STATES + "test_idle_orphans_are_gone_within_a_second"), peers="kill the supervisor"),
    Entry(16, "Import error at the first start", "one traceback, exit code 3",
          ("integration/test_failing_start.py::test_an_app_that_cannot_be_imported",)),
    Entry(17, "Import error at a reload", "old workers serve, the reload is refused",
          (BAD + "test_broken_code_keeps_the_old_workers_and_tells_why",), peers="reload broken code"),
    Entry(18, "before_serving raises or hangs at a reload", "as 17",
          (BAD + "test_broken_code_keeps_the_old_workers_and_tells_why",)),
    Entry(19, "New code is ready, then fails", "canary verdict, rollback", why_not="There is no canary: a generation whose "
          "workers are all ready is committed. Its later deaths are a crash loop (22)."),
    Entry(20, "The k-th new worker fails", "one generation afterwards",
          (BAD + "test_a_worker_killed_while_it_starts_leaves_the_old_ones_serving",)),
    Entry(21, "A boot that takes longer than usual", "the reload completes",
          (STUCK + "test_a_slow_boot_is_not_a_stuck_loop",)),
    Entry(22, "Crash loop", "ever fewer starts, given up, heals",
          (CRASH + "test_a_crash_loop_backs_off_gives_up_visibly_and_heals_on_reload",
           CRASH + "test_the_growing_delay_is_in_the_log_and_starts_are_few"), peers="crash loop"),
    Entry(23, "One slot in a crash loop", "the others serve",
          (CRASH + "test_one_ill_slot_leaves_the_others_serving_and_heals_when_asked",)),
    Entry(24, "A burst of SIGHUP", "at most two reloads",
          (RELOAD + "test_a_burst_of_hups_collapses",)),
    Entry(25, "SIGHUP during a reload", "one more reload",
          (RELOAD + "test_the_newest_request_wins_over_a_reload_under_way",)),
    Entry(26, "SIGTERM during a reload", "the stop wins",
          (RELOAD + "test_a_stop_in_the_middle_of_a_reload_wins",)),
    Entry(27, "SIGTERM twice, SIGQUIT", "escalates; exit codes as documented",
          (STOP + "test_a_second_signal_means_now", STOP + "test_quit_means_now_at_once")),
    Entry(28, "A signal while it starts", "not lost", ("integration/test_failing_start.py::test_a_stop_while_starting_is_obeyed",
          "integration/test_terminal.py::test_ctrl_c_while_it_starts")),
    Entry(29, "Signals to workers and zygotes", "ignored",
          (SIGNALS + "test_workers_and_zygote_ignore_what_is_the_supervisors_to_decide",)),
    Entry(30, "A request that never ends, at a stop", "cut at the drain limit",
          (STOP + "test_an_endless_stream", STOP + "test_a_handler_that_blocks_the_loop"), peers="stop under load"),
    Entry(31, "Many idle connections and WebSockets at a reload", "told, closed, spread",
          ("conformance/test_draining.py::test_many_websockets_are_spread",
           RELOAD + "test_a_draining_worker_answers_keep_alive_connections_and_says_close")),
    Entry(32, "Slow uploads across a reload", "finished",
          (RELOAD + "test_reloads_under_load_drop_nothing", RELOAD + "test_what_is_under_way_ends_on_the_worker_it_began_on")),
    Entry(33, "Reloads one after the other with long WebSockets", "old generations bounded",
          (STATES + "test_reloads_in_a_row_with_websockets_keep_processes_bounded",)),
    Entry(34, "Many reloads", "nothing grows", (RELOAD + "test_reloads_leave_nothing_behind",)),
    Entry(35, "Disk full under the logs", "serving unaffected, recovers",
          (FILES + "test_a_full_disk_under_the_logs_stops_nothing",)),
    Entry(36, "Nobody reads the log pipe", "nothing stops",
          ("integration/test_logs.py::test_a_log_nobody_reads_stops_nothing",
           FILES + "test_a_full_log_pipe_does_not_hold_the_supervisor_up")),
    Entry(37, "Stale pid file", "replaced; a live one refused", (FILES + "test_a_pid_file_is_replaced_unless_its_server_lives",)),
    Entry(38, "Pid file replaced while running", "left alone", (FILES + "test_a_pid_file_of_another_is_left_at_the_end",)),
    Entry(39, "Stale, live, and foreign socket file", "taken over, refused, kept",
          (LISTENERS + "test_a_stale_socket_file_is_replaced", LISTENERS + "test_a_live_socket_is_not_stolen",
           LISTENERS + "test_a_file_that_is_no_socket_is_kept")),
    Entry(40, "Socket file replaced while running", "left alone",
          (LISTENERS + "test_a_socket_of_another_in_its_place_is_left_at_exit",)),
    Entry(41, "Two servers at once on one port", "one lives", (LISTENERS + "test_two_servers_started_at_once_on_one_port",)),
    Entry(42, "The clock jumps", "nothing killed", why_not="All deadlines are on the monotonic clock, which a test cannot set; "
          "the wall clock is only shown."),
    Entry(43, "Suspend and resume", "no mass kill", (STUCK + "test_a_stopped_and_continued_family_loses_nobody",)),
    Entry(44, "Pid reuse", "never a foreign process signalled", why_not="Signals go by pidfd, opened by the parent before it "
          "reaps; a reused number cannot be brought about on demand."),
    Entry(45, "A child dies between check and kill", "no exception", ("component/test_fleet_model.py::TestFleetLife",)),
    Entry(46, "Unknown children", "reaped", ("integration/test_pid_one.py::test_orphans_are_reaped_and_term_is_obeyed",)),
    Entry(47, "The app starts children", "the port is not held", (LISTENERS + "test_children_of_the_app_do_not_hold_the_port",)),
    Entry(48, "listen() again on the shared socket", "backlog unchanged", (LISTENERS + "test_a_full_backlog_is_kept_by_the_supervisor",)),
    Entry(49, "Inherited signal masks, SIG_IGN, closed stdin", "put right", (SIGNALS + "test_inherited_masks_and_dispositions_are_put_right",)),
    Entry(50, "A tracer stops the worker", "no false kill", (STATES + "test_a_worker_stopped_for_a_moment_lives",)),
    Entry(51, "No CPU left", "no false kill", (STATES + "test_busy_neighbours_cost_nobody_his_life",)),
    Entry(52, "Memory limit hit by all workers", "recycled one by one", ("integration/test_recycle.py::test_max_rss",)),
    Entry(53, "A writer of the shared memory is killed", "no torn record, totals stay",
          ("integration/test_status_truth.py::test_counts_survive_kills",)),
    Entry(54, "Nonsense on the control socket", "refused, the loop goes on",
          (CONTROL + "test_nonsense_gets_an_error_and_harms_nothing", CONTROL + "test_clients_that_say_nothing_hold_nobody_up",
           CONTROL + "test_another_user_is_refused")),
    Entry(55, "Readiness claimed by another", "does not count", (RELOAD + "test_what_is_asked_after_reload_returned_is_answered_by_the_new_code",)),
    Entry(56, "Random failures of system calls", "alive; recovers after each", (CALLS + "test_an_hour_of_bad_luck_in_short",)),
    Entry(57, "The zygote dies", "its spare takes over; tried until there is one",
          (SUPERVISOR + "test_kill_9_of_the_zygote_costs_nothing", CALLS + "test_a_spare_zygote_that_cannot_be_made_is_tried_again_later",
           SUPERVISOR + "test_a_server_that_lost_all_zygotes_tries_until_it_has_one")),
    Entry(58, "Supervisor upgrade fails", "the old one goes on",
          (UPGRADE + "test_what_cannot_serve_is_refused_and_changes_nothing", UPGRADE + "test_a_next_supervisor_that_is_killed_harms_nobody",
           UPGRADE + "test_a_second_upgrade_is_refused_and_a_reload_waits")),
    Entry(59, "Deploy by symlink, old release deleted", "the reload follows", (STATES + "test_a_switched_symlink_is_followed",)),
    Entry(60, "Start in a program with threads or a running loop", "warned, or a child supervises",
          ("integration/test_embedding.py::test_live_threads_at_the_fork_are_named_in_one_warning",
           "integration/test_embedding.py::test_cycles_leave_the_host_as_it_was")),
    Entry(61, "A library's native threads are alive at the fork", "named; each worker loads the app itself",
          (LOAD + "test_a_library_whose_threads_a_fork_would_lose_goes_on_working",
           LOAD + "test_each_generation_finds_out_for_itself")),
    Entry(62, "A worker that loads the app itself dies, hangs or fails while it does", "named, replaced; others serve",
          (LOAD + "test_a_worker_killed_while_it_loads", LOAD + "test_a_program_that_hangs_while_a_worker_loads_it",
           LOAD + "test_code_that_breaks_later_is_a_crash_loop_that_heals")),
    Entry(63, "SIGKILL of the supervisor of such workers, stopped or blocked in C", "all gone in time",
          (LOAD + "test_nobody_outlives_a_killed_supervisor", LOAD + "test_a_lost_warden_is_there_again",
           LOAD + "test_nor_does_one_that_blocks_in_code_that_is_not_pythons")),
)  # fmt: skip
