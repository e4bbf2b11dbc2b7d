Feature: Life and death
  Whoever spawns a process owns it and reaps it; what is active may finish.

  @EH-014b @F7 @LIFE-015
  Scenario: A worker that is ended finishes what it does
    Given a model slow that says one two, and waits for GO after 1
    And a fleet
    And a worker of slow
    When Ada asks slow
    Then Ada has read one
    When SIGTERM hits the worker of slow
    Then the workers of slow are draining
    When POST /v1/inference is asked of the worker of slow with the body {"prompt": "go"}
    Then the answer is 503 DRAINING
    And the answer has a whole Retry-After
    When GO is released
    Then Ada is answered one two
    And the worker of slow ends within 2000 ms

  @EH-014b @F7
  Scenario: A hive that is told to end lets two requests finish
    Given a model slow that says one two, and waits for GO after 1
    And slow has 2 slots
    And a fleet
    And a worker of slow
    When Ada asks slow
    And Ben asks slow
    Then Ada has read one
    And Ben has read one
    When SIGTERM hits the hive
    Then the queen lists the hive here as draining
    When somebody asks for a worker of slow
    Then the answer is 503 NO_HIVE
    When GO is released 2 times
    Then Ada is answered one two
    And Ben is answered one two
    And the hive exits with 0
    And the log of the hive tells draining

  @EH-014b @F7
  Scenario: A queen that is told to end lets requests finish, and takes no more
    Given a model slow that says one two, and waits for GO after 1
    And a fleet
    And a worker of slow
    When Ada asks slow
    Then Ada has read one
    When SIGTERM hits the queen
    And the log of the queen tells of draining
    Then new requests are refused
    When GO is released
    Then Ada is answered one two
    And the queen exits with 0
    And the worker of slow, as its hive has it, is alive

  @DRAIN-HTTP
  Scenario Outline: A program that is told to drain over HTTP ends
    Given a model tiny that says one
    And a fleet
    And a worker of tiny
    When POST /v1/drain is asked of <target>
    Then the answer is 200
    And <target> exits with 0

    Examples:
      | target    |
      | the queen |
      | the hive  |

  @SECOND-SIGNAL
  Scenario Outline: A second signal ends <target> at once
    Given a model slow that says one two, and waits for GO after 1
    And a fleet
    And a worker of slow
    When Ada asks slow
    Then Ada has read one
    When SIGTERM hits <target>
    And the drain of <target> has begun
    And SIGINT hits <target> again
    Then <target> ends within 3000 ms
    And Ada is told <code> after one

    Examples:
      | target             | code     |
      | the queen          | DRAINING |
      | the hive           | DRAINING |
      | the worker of slow | DRAINING |

  @SECOND-SIGNAL
  Scenario: Who waits when the second signal comes is told so
    Given a model slow that says one two, and waits for GO after 1
    And a fleet
    And a worker of slow
    When Ada asks slow
    Then Ada has read one
    When Ben chats with slow without a stream
    And Cleo asks slow
    Then Cleo waits for queued
    And the queen counts 2 waiting and 1 in flight
    When SIGTERM hits the queen
    And the drain of the queen has begun
    And SIGINT hits the queen again
    Then Ben is refused with 503 DRAINING
    And the answer of Ben has a whole Retry-After
    And Cleo is told DRAINING
    And the queen exits with 0

  @DRAIN-HTTP @SECOND-SIGNAL
  Scenario Outline: To ask <target> to drain once more changes nothing
    Given a model slow that says one two, and waits for GO after 1
    And a fleet
    And a worker of slow
    When Ada asks slow
    Then Ada has read one
    When POST /v1/drain is asked of <target>
    And POST /v1/drain is asked of <target>
    Then the answer is 200
    When GO is released
    Then Ada is answered one two
    And <target> exits with 0

    Examples:
      | target    |
      | the queen |
      | the hive  |

  @DRAIN-HTTP @SECOND-SIGNAL
  Scenario Outline: The first signal to <target> that was asked to drain lets it finish
    Given a model slow that says one two, and waits for GO after 1
    And a fleet
    And a worker of slow
    When Ada asks slow
    Then Ada has read one
    When POST /v1/drain is asked of <target>
    And SIGTERM hits <target>
    And POST /v1/drain is asked of <target>
    Then the answer is 200
    When GO is released
    Then Ada is answered one two
    And <target> exits with 0

    Examples:
      | target    |
      | the queen |
      | the hive  |

  @DRAIN-HTTP @SECOND-SIGNAL
  Scenario: The second signal to a queen that was asked to drain ends it at once
    Given a model slow that says one two, and waits for GO after 1
    And a fleet
    And a worker of slow
    When Ada asks slow
    Then Ada has read one
    When POST /v1/drain is asked of the queen
    And SIGTERM hits the queen
    And POST /v1/drain is asked of the queen
    And SIGINT hits the queen again
    Then Ada is told DRAINING after one
    And the queen exits with 0

  @EH-014a @LIFE-003 @LIFE-004 @LIFE-008
  Scenario: Who does not end in time is killed
    Given a model slow that says one two, and waits for GO after 1
    And the hive keeps term_ms_max at 200
    And the hive keeps drain_ms_max at 600
    And the hive keeps health_ms at 100
    And a fleet
    And a worker of slow
    When Ada asks slow
    Then Ada has read one
    When SIGTERM hits the hive
    Then all workers have ended within 3000 ms
    And the hive exits with 0
    And the last signals were SIGTERM, SIGKILL

  @EH-014a @LIFE-003 @STOPPED
  Scenario: A worker that is stopped is killed when its hive ends
    Given a model tiny that says one
    And the hive keeps term_ms_max at 200
    And the hive keeps health_ms at 300
    And a fleet
    And a worker of tiny
    When SIGSTOP hits the worker of tiny
    And SIGTERM hits the hive
    Then the hive exits with 0
    And the worker of tiny ends within 100 ms

  @LC-4 @FULL-004 @LIFE-007 @LIFE-009 @LIFE-010
  Scenario: A hive that ends takes all its workers along, together, and the catalogue stays
    Given a model tiny that says one
    And tiny may have 5 workers
    And a fleet
    And 5 workers of tiny
    When SIGTERM hits the hive
    Then all workers have ended within 5000 ms
    And the hive exits with 0
    And the log of the hive tells of 0, 1, 2, 3, 4, 5 of 5 that have ended
    When someone without a queen runs penstock models list --json
    Then it exits with 0
    And its data has 0.name tiny

  @INT-002
  Scenario: Workers come and go, and none is forgotten
    Given a model tiny that says one
    And tiny may have 5 workers
    And a fleet
    And 5 workers of tiny
    When 3 workers of tiny are ended by their ids
    And 2 workers of tiny are spawned
    Then the list says at once that the workers of tiny are idle, idle, idle, idle
    And the hive has 5 children that are no zombies and none that is

  @KILL-HIVE
  Scenario: A hive that is killed takes everything along
    Given a model tiny that says one
    And tiny may have 2 workers
    And a model up of a server that starts a process in a session of its own
    And a fleet
    And 2 workers of tiny
    And a worker of up
    When somebody has looked at everything below the hive
    And SIGKILL hits the hive
    Then nothing below the hive is left within 1000 ms
    And the queen is alive

  @KILL-HIVE @STOPPED
  Scenario: A hive that is killed takes a stopped worker along
    Given a model tiny that says one
    And a fleet
    And a worker of tiny
    When SIGSTOP hits the worker of tiny
    And SIGKILL hits the hive
    Then the worker of tiny ends within 1000 ms

  @KILL-WORKER
  Scenario: A worker that is killed takes its server along, and what that started
    Given a model up of a server that starts a process in a session of its own
    And a fleet
    And a worker of up
    When somebody has looked at everything below the worker of up
    And SIGKILL hits the worker of up
    Then nothing below the worker of up is left within 2000 ms

  @KILL-QUEEN @LC-7 @REREGISTER
  Scenario: A queen that is killed leaves the hive and its workers alone
    Given a model slow that says one two, and waits for GO after 1
    And a fleet
    And a worker of slow
    And somebody has looked at the worker of slow
    When Ada asks slow
    Then Ada has read one
    When SIGKILL hits the queen
    And the queen is started again at the same place
    Then the queen lists the hive here as ready
    And the worker of slow is the one that was looked at
    And no slot of slow is taken

  @KILL-CLIENT @GAP-G12b
  Scenario: A client that is killed frees its slot
    Given a model slow that says one two, and waits for GO after 1
    And a fleet
    And a worker of slow
    When someone starts penstock infer --model slow --prompt go
    Then the queen counts 0 waiting and 1 in flight
    When SIGKILL hits the command
    Then the queen counts 0 waiting and 0 in flight
    And no slot of slow is taken

  @KILL-RUNNER
  Scenario: A test runner that is killed takes the fleet along that it started
    Given a test runner that has started a fleet
    When SIGKILL hits the test runner
    Then nothing runs in its folder any more

  @UPGRADE
  Scenario: A hive becomes its own successor, and what is generated goes on
    Given a model slow that says one two, and waits for GO after 1
    And a fleet
    And a worker of slow
    And somebody has looked at the worker of slow
    And somebody has looked at the hive
    When Ada asks slow
    Then Ada has read one
    When the hive is told to become its successor
    Then the hive is the one that was looked at
    And the worker of slow is the one that was looked at
    And the worker of slow, as its hive has it, is alive
    When GO is released
    Then Ada is answered one two
    When Ben asks slow
    And GO is released
    Then Ben is answered one two
    And the workers of slow are idle

  @INT-003
  Scenario: A hive that is killed in mid-stream is an error, not a silence
    Given a model slow that says one two, and waits for GO after 1
    And a fleet
    And a worker of slow
    When Ada asks slow
    Then Ada has read one
    When SIGKILL hits the hive
    Then Ada is told WORKER_CRASHED after one
    And the queen counts 0 waiting and 0 in flight

  @PID-REUSE
  Scenario: Nobody else is signalled when a worker is ended that has gone
    Given a model tiny that says one
    And a fleet
    And a worker of tiny
    When the worker of tiny is ended by its id
    And the same worker is ended once more
    Then the answer is 204
    And the last signals were SIGTERM
