Feature: Who is not heard
  What is said meanwhile comes late, or twice; what is under way goes on, and nothing new is begun.

  @F5 @INT-005
  Scenario: A hive that is not heard gets no new work, and what its worker streams comes to its end
    Given a model slow that says one two, and waits for GO after 1
    And slow has 2 slots
    And the queen keeps heartbeat_ms at 100
    And the queen keeps stale_ms at 600
    And a fleet
    And a worker of slow
    When Ada asks slow
    Then Ada has read one
    When SIGSTOP hits the hive
    Then the queen lists the hive here as lost
    When Ben chats with slow
    Then Ben is refused with 503 NO_HIVE
    When GO is released
    Then Ada is answered one two
    When SIGCONT hits the hive
    Then the queen lists the hive here as ready
    When Cora asks slow
    And GO is released
    Then Cora is answered one two
    And 1 workers of slow were spawned in all

  @C7
  Scenario: A heartbeat that knows nothing yet of what was given takes none of it back
    Given a model slow that says one two, and waits for GO after 1
    And the queen keeps heartbeat_ms at 50
    And the hive keeps health_ms at 60000
    And a fleet
    And a worker of slow
    When Ada asks slow
    Then Ada has read one
    When Ben asks slow
    Then Ben waits for queued
    When the queen has heard the hive 5 times more
    Then the queen counts 1 waiting and 1 in flight
    And the worker of slow has answered 0 requests, and refused none
    When GO is released 2 times
    Then Ada is answered one two
    And Ben is answered one two
    And the worker of slow has answered 2 requests, and refused none

  @C6
  Scenario: Who is taken off the list again and again registers all the same
    Given a model tiny that says one
    And the queen keeps heartbeat_ms at 400
    And the queen keeps stale_ms at 50
    And a queen
    When the hive here joins
    And the hive there joins
    Then the hives here and there are lost and heard again
    When SIGKILL hits the hive here
    And the hive here is started again
    Then the hives here and there are lost and heard again

  @CALLBACK-LATE
  Scenario: A callback of a worker that was killed meanwhile comes too late
    Given a model cold that waits for LOAD while it loads
    And a hive of its own
    When somebody asks for a worker of cold, and does not wait
    Then the workers of cold are loading
    When somebody has looked at the worker of cold
    And SIGSTOP hits the hive
    And LOAD is released
    Then 1 callbacks lie unread at the hive
    When SIGKILL hits the worker of cold again
    Then the worker of cold ends within 5000 ms
    When SIGCONT hits the hive
    Then the hive has answered its callbacks with 200, 410
    And a worker of cold has failed with LOAD_FAILED
    And the workers of cold are none

  @CALLBACK-TWICE
  Scenario: A callback that a worker sends once more, unanswered for too long, has no effect
    Given a model cold that waits for LOAD while it loads
    And a hive of its own
    When somebody asks for a worker of cold, and does not wait
    Then the workers of cold are loading
    When SIGSTOP hits the hive
    And LOAD is released
    Then 2 callbacks lie unread at the hive
    When SIGCONT hits the hive
    Then 0 callbacks lie unread at the hive
    And the workers of cold are idle
    And the hive has refused no callback of those that it could answer
    And the log of the hive tells once that a worker of cold is idle
