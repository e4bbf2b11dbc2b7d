Feature: Hives
  The queen knows which machines there are, and believes nobody who only says so.

  @QR-1 @QR-2 @REG-4 @HP-1 @HP-3 @EH-001d @FULL-003 @MET-6
  Scenario: A hive that starts is listed with what it has
    Given a model tiny that says one
    And a fleet
    When GET /v1/hives/here is asked of the queen
    Then the answer is 200
    And its state is ready
    And its models is ["tiny"]
    When someone runs penstock hives list
    Then it exits with 0
    And it prints here

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

  @QR-6 @F1 @LC-2
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

  @INT-004 @F5 @C7
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

  @INT-001 @R1 @E2E900-1
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

  @PH2-2 @EC8 @HP-2
  Scenario: A hive that speaks another version is refused, and both versions are named
    Given a queen
    When a hive of the API version 2 registers
    Then the answer is 426 VERSION_MISMATCH
    And its message says version 1 of the API
    And its message says the hive 2 (9.9.9)
    And the queen lists no hive strange

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

  @REG-2 @EH-001a @SSH-2 @EC1
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
