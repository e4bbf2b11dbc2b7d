Feature: Hives
  The queen knows which machines there are, and believes nobody who only says so.

  @QR-1 @QR-2 @REG-4 @HP-1 @HP-3 @EH-001d @FULL-003
  Scenario: A hive that starts is listed with what it has
    Given a model tiny that says one
    And a fleet
    When GET /v1/hives/here is asked of the queen
    Then the answer is 200
    And its state is ready
    And its models is ["tiny"]
    When someone runs penstock hives list
    Then it exits with 0
    And it prints the hive here as ready, with its address, seen at most 5000 ms ago

  @PH2-1 @HP-1
  Scenario Outline: Each program says its health, state and version
    Given a model tiny that says one
    And a fleet
    And a worker of tiny
    When GET /v1/health is asked of <target>
    Then the answer is 200
    And its status is ok
    And its state is <state>
    And its api-version is 1

    Examples:
      | target             | state |
      | the queen          | ready |
      | the hive           | ready |
      | the worker of tiny | idle  |

  @REG-5 @QR-5
  Scenario: A hive that is removed ends, and is listed no more
    Given a model tiny that says one
    And a fleet
    When DELETE /v1/hives/here is asked of the queen
    Then the answer is 204
    And the queen lists no hive here
    And the hive exits with 6
    And the log of the hive has the word FENCED

  @REG-5
  Scenario: A hive that nobody knows cannot be removed
    Given a queen
    When DELETE /v1/hives/nowhere is asked of the queen
    Then the answer is 404 UNKNOWN_HIVE
    When someone runs penstock hives remove nowhere
    Then it exits with 6
    And it says penstock hives list

  @EH-011b @C1
  Scenario: A name that a living hive has is not given to another
    Given a queen
    And the hive here joins
    When someone runs penstock hive --name here --port 0 --ports any
    Then it exits with 6
    And it says HIVE_NAME_TAKEN
    And it says --name

  @C1 @E2E900-4 @INT-010
  Scenario: Of three that start under one name at once one has it
    Given a queen
    When 3 processes try to be the hive here at once
    Then one of them is the hive here, and the others exit with 6 and HIVE_NAME_TAKEN

  @QR-6 @F1 @LC-2 @REG-4 @EH-001d
  Scenario: A hive that is not heard any more is lost, with its workers
    Given a model tiny that says one
    And the queen keeps heartbeat_ms at 100
    And the queen keeps stale_ms at 600
    And a fleet
    And a worker of tiny
    When SIGKILL hits the hive
    Then the queen lists the hive here as lost
    And the workers of tiny are none
    When Ada chats with tiny
    Then Ada is refused with 503 NO_HIVE
    And the answer of Ada has a whole Retry-After
    When someone runs penstock hives list
    Then it prints the hive here as lost, with its address, seen at least 600 ms ago

  @INT-004
  Scenario: A hive that stood still is heard again when it goes on
    Given a model tiny that says one
    And the queen keeps heartbeat_ms at 100
    And the queen keeps stale_ms at 600
    And a fleet
    And a worker of tiny
    And somebody has looked at the worker of tiny
    When SIGSTOP hits the hive
    Then the queen lists the hive here as lost
    When SIGCONT hits the hive
    Then the queen lists the hive here as ready
    And the worker of tiny is the one that was looked at
    When Ada asks tiny
    Then Ada is answered one

  @INT-001 @E2E900-1
  Scenario: Requests at once are spread over the hives that have room
    Given a model slow that says one two, and waits for GO after 1
    And a fleet with the hives here and there
    When Ada asks slow
    Then Ada has read one
    When Ben asks slow
    Then Ben has read one
    And the hives here and there have a worker of slow each
    When GO is released 2 times
    Then Ada is answered one two
    And Ben is answered one two

  @R1
  Scenario Outline: Of two hives that have <here> and <there> bytes left, a worker goes to that with more
    Given a model tiny that says one
    And tiny takes 10 bytes
    And a model large that says two
    And large takes 5000 bytes
    And the hives here and there have <here> and <there> bytes for models
    When Ada asks tiny
    Then Ada is answered one
    And the worker of tiny is at the hive <first>
    When Ben asks large
    Then Ben is answered two
    And the worker of large is at the hive <second>

    Examples:
      | here | there | first | second |
      | 2000 | 9000  | there | there  |
      | 9000 | 2000  | here  | here   |

  @R1
  Scenario: What is taken already is not counted as room
    Given a model tiny that says one
    And tiny takes 10 bytes
    And a model large that says two
    And large takes 8000 bytes
    And the hives here and there have 2000 and 9000 bytes for models
    When Ben asks large
    Then Ben is answered two
    And the worker of large is at the hive there
    When Ada asks tiny
    Then Ada is answered one
    And the worker of tiny is at the hive here

  @R1
  Scenario: Of the cards of one machine, a worker that wants any goes to that with most left
    Given a model tiny that says one
    And tiny takes 1048576 bytes
    And tiny wants the device gpu
    And tiny may have 9 workers
    And nvidia-smi that says 0, 24564, 2 and 1, 81920, 4
    And a fleet
    When Ada asks tiny
    Then Ada is answered one
    And the devices of the workers of tiny are gpu1
    When someone runs penstock workers list
    Then it prints 1.0 MB on gpu1
    When 3 workers of tiny are spawned
    Then the devices of the workers of tiny are gpu0, gpu1, gpu1, gpu1
    When 2 workers of tiny are spawned
    And somebody asks for a worker of tiny
    Then the answer is 503 INSUFFICIENT_MEMORY
    And the devices of the workers of tiny are gpu0, gpu0, gpu1, gpu1, gpu1, gpu1

  @R2
  Scenario: Memory that is gone between the look and the use is found out by the hive, which looks anew
    Given a model first that says one
    And first takes 1500 bytes
    And a model second that says two
    And second takes 1500 bytes
    And the machine has 2000 bytes for models
    And a hive of its own
    When somebody has seen that it has 2000 bytes free
    And workers of first and second are asked for at once
    Then one of them is there, and the other is refused with 503 INSUFFICIENT_MEMORY: 1500 required, 500 available

  @MET-6
  Scenario: The memory of each device is measured, and what is left of it
    Given a model tiny that says one
    And tiny takes 1000000 bytes
    And tiny wants the device gpu1
    And nvidia-smi that says 0, 24564, 24564 and 1, 81920, 2
    And a fleet
    Then the measures of the hive have penstock_hive_memory_bytes{device="gpu0",kind="total"} 25757220864
    And the measures of the hive have penstock_hive_memory_bytes{device="gpu1",kind="free"} 2097152
    And the measures of the hive have penstock_hive_memory_bytes{device="cpu",kind="free"} +
    When a worker of tiny is spawned
    Then the measures of the hive have penstock_hive_memory_bytes{device="gpu1",kind="free"} 1097152

  @PH2-2 @EC8 @HP-2
  Scenario: A hive that speaks another version is refused, and both versions are named
    Given a queen
    When a hive of the API version 2 registers
    Then the answer is 426 VERSION_MISMATCH
    And its message says version 1 of the API
    And its message says the hive 2 (9.9.9)
    And the queen lists no hive strange

  @EC8 @HP-2
  Scenario: Another version is told before anything that only it knows
    Given a queen
    When a hive of the API version 2 registers with what we do not know
    Then the answer is 426 VERSION_MISMATCH
    And its message says the hive 2 (9.9.9)

  @EH-002a @PH2-3
  Scenario: A hive that cannot be reached is not taken
    Given a queen
    When a hive registers at an address where nobody is
    Then the answer is 503 HIVE_UNREACHABLE
    And the queen lists no hive strange

  @EH-002b
  Scenario: What answers as no hive does is not taken for one
    Given a queen
    When a hive registers at an address where something else answers
    Then the answer is 503 HIVE_UNREACHABLE
    And the queen lists no hive strange

  @REG-6
  Scenario: A prompt without any hive is refused, and says what to do
    Given a queen
    When Ada chats with tiny
    Then Ada is refused with 503 NO_HIVE
    When someone runs penstock workers spawn tiny
    Then it exits with 7
    And it says penstock hive

  @QL-1 @INT-012 @PH1-1
  Scenario Outline: A queen that is started again knows everything within two seconds
    Given a model tiny that says one two, and waits for GO after 1
    And tiny may have 2 workers
    And a fleet
    And 2 workers of tiny
    When <signal> hits the queen
    And the queen is started again at the same place
    Then she knows 2 workers of tiny within 2000 ms
    When Ada asks tiny
    Then Ada has read one
    When GO is released
    Then Ada is answered one two
    And 2 workers of tiny were spawned in all

    Examples:
      | signal  |
      | SIGKILL |
      | SIGTERM |

  @FENCE
  Scenario Outline: Who reports under the address of a living hive <as> does not take its place
    Given a model tiny that says one
    And a fleet
    And a worker of tiny
    When another process reports from the address of the hive here as <as>
    Then the answer is <status> <code>
    And the hive is alive
    And the queen lists the hive here as ready
    When Ada asks tiny
    Then Ada is answered one

    Examples:
      | as       | status | code             |
      | here     | 409    | HIVE_NAME_TAKEN  |
      | stranger | 503    | HIVE_UNREACHABLE |

  @FENCE
  Scenario: A hive of an epoch that is over is fenced off
    Given a model tiny that says one
    And a fleet
    And the epoch of the hive here is known
    When SIGKILL hits the hive
    And the hive here is started again
    Then the hive here speaks in a newer epoch
    When another process reports as the hive here of an epoch that is over
    Then the answer is 409 FENCED
    When Ada asks tiny
    Then Ada is answered one

  @INT-013 @F6 @HIVE-CLEAN
  Scenario: A hive that is started again starts clean, and says so
    Given a model tiny that says one
    And a fleet
    And a worker of tiny
    When SIGKILL hits the hive
    Then all workers have ended within 1000 ms
    When the hive here is started again
    Then the workers of tiny are none
    When Ada asks tiny
    Then Ada is answered one

  @F8 @REGISTRY-DAMAGED
  Scenario: A damaged registry is set aside, and the queen goes on
    Given a model tiny that says one
    And a fleet
    When SIGKILL hits the queen
    And the registry of the queen is damaged
    And the queen is started again at the same place
    Then the damaged registry is kept beside the new one
    And the queen lists the hive here as ready
    When Ada asks tiny
    Then Ada is answered one

  @ERRS-4 @INT-007
  Scenario: A registry that cannot be opened costs the memory, not the service
    Given a model tiny that says one
    And the registry cannot be opened
    And a fleet
    When GET /v1/health is asked of the queen
    Then the answer is 200
    And its status is degraded
    When Ada asks tiny
    Then Ada is answered one

  @EH-001a @SSH-2 @EC1 @REG-2
  Scenario: A machine that takes the connection and says nothing is tried three times, and not saved
    Given a queen
    And a machine that takes connections and says nothing
    When that machine is added as far, with a second for each try
    Then it exits with 7
    And it says ssh: timeout
    And it says fix:
    And that machine was called 3 times
    And the queen lists no hive far

  @REG-2
  Scenario: A machine that SSH does not reach is not saved
    Given a queen
    When someone runs penstock hives add far --ssh nobody@127.0.0.1:1 --timeout-s 2 --queen-url http://127.0.0.1:8080
    Then it exits with 7
    And it says ssh:
    And it says fix:
    And the queen lists no hive far

  @EH-011a
  Scenario: A key that is not here is found out before anybody is asked
    Given a queen
    When someone runs penstock hives add far --ssh nobody@127.0.0.1 --key {root}/no-key
    Then it exits with 2
    And it says --key
    And the queen lists no hive far

  @EH-011b
  Scenario: A name that is known is not added over SSH
    Given a queen
    And the hive here joins
    When someone runs penstock hives add here --ssh nobody@127.0.0.1:1
    Then it exits with 6
    And it says here
