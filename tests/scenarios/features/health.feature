Feature: Health
  A worker is its process, its socket and its progress.

  Background:
    Given the hive keeps health_ms at 100
    And the hive keeps backoff_base_ms at 20

  @LIFE-011 @INT-009 @FULL-005 @F1
  Scenario: A worker that is killed is seen, told and replaced
    Given a model tiny that says one
    And a fleet
    And a worker of tiny
    When SIGKILL hits the worker of tiny
    Then a worker of tiny has failed with WORKER_FAILED
    And its message in the list says signal 9
    And a worker of tiny is idle that was not looked at
    And the worker of tiny has been restarted 1 times
    When Ada asks tiny
    Then Ada is answered one

  @LIFE-012
  Scenario: Nobody is left as a zombie
    Given a model tiny that says one
    And a fleet
    And a worker of tiny
    When SIGKILL hits the worker of tiny
    Then a worker of tiny is idle that was not looked at
    And the hive has 2 children that are no zombies and none that is

  @LIFE-005 @LIFE-013 @STOPPED
  Scenario: A worker that is stopped is killed and replaced
    Given a model tiny that says one
    And a fleet
    And a worker of tiny
    When SIGSTOP hits the worker of tiny
    Then a worker of tiny has failed with WORKER_HUNG
    And the worker of tiny ends within 2000 ms
    And a worker of tiny is idle that was not looked at

  @LIFE-013
  Scenario: Three that hang are all killed and replaced
    Given a model tiny that says one
    And tiny may have 3 workers
    And a fleet
    And 3 workers of tiny
    When SIGSTOP hits every worker of tiny
    Then every worker of tiny that was hit ends within 3000 ms
    And the workers of tiny are idle, idle, idle

  @EH-013b @HEALTH-LIES @LIFE-005
  Scenario: A worker that answers but makes no token is killed and replaced
    Given a model tiny with the script
      """
      replies:
        - {tokens: [one, " two"], fault: {kind: hang, after: 1}, once: HANG}
        - {tokens: [well]}
      repeat: true
      """
    And the hive keeps stall_ms_max at 400
    And a fleet
    And a worker of tiny
    And somebody has looked at the worker of tiny
    When Ada asks tiny
    Then Ada has read one
    And the worker of tiny ends within 4000 ms
    And Ada is told WORKER_CRASHED after one
    And a worker of tiny has failed with WORKER_HUNG
    And its message in the list says no token
    When Ben asks tiny
    Then Ben is answered well

  @EH-013b
  Scenario: Who waits for the first token of a worker that hangs is served elsewhere, unseen
    Given a model tiny with the script
      """
      replies:
        - {tokens: [one], fault: {kind: hang}, once: HANG}
        - {tokens: [well]}
      repeat: true
      """
    And the hive keeps stall_ms_max at 400
    And a fleet
    And a worker of tiny
    When Ada chats with tiny
    Then Ada is answered well

  @FROZEN
  Scenario: A process that stands still is killed and replaced
    Given a model tiny with the script
      """
      replies:
        - {tokens: [one], fault: {kind: freeze}, once: FREEZE}
        - {tokens: [well]}
      repeat: true
      """
    And a fleet
    And a worker of tiny
    When Ada chats with tiny
    Then Ada is answered well
    And a worker of tiny has failed with WORKER_HUNG

  @SILENCE
  Scenario: A worker that says nothing for too long is given up by the queen
    Given a model tiny that says one two, and waits for GO after 1
    And the queen keeps silence_ms_max at 400
    And a fleet
    And a worker of tiny
    When Ada asks tiny
    Then Ada is told WORKER_HUNG after one

  @ERRS-6
  Scenario: A worker that does not answer for a moment is not dead
    Given a model tiny that says one
    And a model other that says two
    And the hive keeps health_misses_max at 100
    And a fleet
    And a worker of tiny
    And somebody has looked at the worker of tiny
    When the worker of tiny stands still for a while
    And Ada asks tiny
    Then Ada is answered one
    And the worker of tiny is the one that was looked at

  @LIFE-014 @AUD-1 @AUD-4
  Scenario: Every kill is written down
    Given a model tiny that says one
    And a fleet
    And a worker of tiny
    When SIGSTOP hits the worker of tiny
    Then a worker of tiny has failed with WORKER_HUNG
    And the log of the hive tells signal with signal=SIGKILL reason=WORKER_HUNG
    And each signal was written down with worker, process, reason and time
    And the measures of the hive have penstock_hive_signals_total{reason="WORKER_HUNG",signal="SIGKILL"} 1

  @LC-3 @EC10
  Scenario: A worker that nobody asks is ended, however often its health is asked for, and the hive lives
    Given a model tiny that says one
    And the hive keeps idle_ms_max at 1500
    And a fleet
    And a worker of tiny
    And somebody has looked at the worker of tiny
    Then the worker of tiny ends within 5000 ms
    And the workers of tiny are none
    And the hive is alive
    When Ada asks tiny
    Then Ada is answered one
    And 2 workers of tiny were spawned in all

  @EC10
  Scenario: A worker at work is not idle
    Given a model slow that says one two, and waits for GO after 1
    And a model other that says two
    And the hive keeps idle_ms_max at 500
    And a fleet
    And a worker of slow
    When Ada asks slow
    Then Ada has read one
    When the idle time of other passes
    And GO is released
    Then Ada is answered one two

  @BREAKER
  Scenario: A model that fails too often is not started for a while
    Given a model bad with the script
      """
      replies: [{text: never}]
      load: {fault: fail}
      """
    And the hive keeps failures_max at 2
    And a hive of its own
    When somebody asks for a worker of bad
    And somebody asks for a worker of bad
    Then the answer is 502 LOAD_FAILED
    When somebody asks for a worker of bad
    Then the answer is 503 MODEL_FAILING
    And the answer has a whole Retry-After

  @EH-012c @FULL-009
  Scenario: Who waits for a model that cannot be loaded is told by the log of its worker
    Given a model bad that is served by the command sh -c "echo no such weights for {port}; exit 3"
    And a fleet
    When Ada chats with bad
    Then Ada is refused with 502 LOAD_FAILED
    And Ada is shown the log of its worker, with no such weights
    When Ben asks bad
    Then Ben is told LOAD_FAILED
    And Ben is shown the log of its worker, with no such weights

  @BREAKER
  Scenario: Who asks for a worker of a model that fails too often is told when to ask again
    Given a model bad with the script
      """
      replies: [{text: never}]
      load: {fault: fail}
      """
    And the hive keeps failures_max at 1
    And a fleet
    When somebody asks for a worker of bad
    Then the answer is 502 LOAD_FAILED
    When somebody asks for a worker of bad
    Then the answer is 503 MODEL_FAILING
    And the answer is to come again after 50 to 60 seconds

  @BREAKER
  Scenario: One that dies again and again waits longer each time
    Given a model tiny that says one
    And a fleet
    And a worker of tiny
    When SIGKILL hits the worker of tiny
    Then a worker of tiny is idle that was not looked at
    When SIGKILL hits the worker of tiny
    Then a worker of tiny is idle that was not looked at
    And the log of the hive tells of waits of 20, 40 ms before replacements

  @BREAKER
  Scenario: One that dies again and again is not replaced for ever
    Given a model tiny that says one
    And the hive keeps failures_max at 2
    And a fleet
    And a worker of tiny
    When SIGKILL hits the worker of tiny
    Then a worker of tiny is idle that was not looked at
    When SIGKILL hits the worker of tiny
    Then the worker of tiny ends within 1000 ms
    When Ada chats with tiny
    Then Ada is refused with 503 MODEL_FAILING
    And the answer of Ada has a whole Retry-After

  @LC-1
  Scenario: The hive stays up when its worker has ended
    Given a model tiny that says one
    And a fleet
    And a worker of tiny
    When the worker of tiny is ended by its id
    Then the answer is 204
    And the list says at once that the workers of tiny are none
    And the hive is alive
    And the last signals were SIGTERM
