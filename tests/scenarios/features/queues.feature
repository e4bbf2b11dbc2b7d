Feature: Queues
  Requests wait in turn, as many as may; the others are told when to come again.

  @QUEUE-FIFO
  Scenario: Who came first is served first
    Given a model slow that says one two, and waits for GO after 1
    And a fleet
    And a worker of slow
    When 6 clients ask slow one after the other
    Then each GO that is released answers one of Ada, Ben, Cora, Dan, Eve, Finn, in this order

  @EC6 @QUEUE-BOUND @PH8-2
  Scenario: A queue that is full answers with a time to come again
    Given a model slow that says one two, and waits for GO after 1
    And the queen keeps queue_per_model_max at 2
    And a fleet
    And a worker of slow
    When Ada asks slow
    Then Ada has read one
    When 2 clients wait for slow
    And Dan asks slow
    Then Dan is refused with 429 QUEUE_FULL
    And the answer of Dan has a whole Retry-After
    And the measures of the queen have penstock_queen_queue_depth{model="slow"} 2
    When GO is released 3 times
    Then Ada is answered one two
    And each of them is answered

  @QUEUE-BOUND
  Scenario: A full queue of one model is no bar to another
    Given a model slow that says one two, and waits for GO after 1
    And a model tiny that says three
    And the queen keeps queue_per_model_max at 1
    And a fleet
    And a worker of slow
    When Ada asks slow
    Then Ada has read one
    When 1 clients wait for slow
    And Ben asks tiny
    Then Ben is answered three

  @RETRY-AFTER
  Scenario: The time to come again grows with those who wait and the time they take
    Given a model slow that says one two, and waits for GO after 1
    And the queen keeps queue_per_model_max at 8
    And the queen keeps service_ms_assumed at 4000
    And a fleet
    And a worker of slow
    When Ada asks slow
    Then Ada has read one
    When 8 clients wait for slow
    And Ben asks slow
    Then Ben is refused with 429 QUEUE_FULL
    And Ben is to come again after 32 to 40 seconds

  @COLD-50
  Scenario: Fifty who ask a cold model at once get one worker, and are all answered
    Given a model tiny that says one
    And a fleet
    When 50 clients ask tiny at once
    Then each of them is answered
    And 1 workers of tiny were spawned in all

  @WAITER
  Scenario: A waiter that gives up costs the others nothing
    Given a model cold that waits for LOAD while it loads
    And a fleet
    When Ada asks cold
    Then Ada waits for loading
    When Ben asks cold
    Then Ben waits for loading
    When the request of Ada is cancelled
    Then Ada ends with canceled
    When LOAD is released
    Then Ben is answered loaded
    And 1 workers of cold were spawned in all

  @FULL-006 @ERRS-7
  Scenario: Ten clients of three workers are all served
    Given a model tiny that says one two three
    And tiny may have 3 workers
    And a fleet
    And 3 workers of tiny
    When 10 clients ask tiny at once
    Then each of them is answered
    And the queen counts 0 waiting and 0 in flight
    And no slot of tiny is taken

  @QUEUE-SUM
  Scenario: What is accepted and what is refused is all that was sent
    Given a model slow that says one two, and waits for GO after 1
    And the queen keeps queue_per_model_max at 5
    And a fleet
    And a worker of slow
    When 40 clients ask slow at once
    And 34 of them are refused
    And GO is released 6 times
    Then all of them are answered or told QUEUE_FULL, and 40 were sent
    And the queen counts 0 waiting and 0 in flight

  @PATIENCE
  Scenario: Who waits for room too long is given it
    Given a model first that says one two, and waits for GO after 1
    And first takes 1500 bytes
    And a model second that says three
    And second takes 1500 bytes
    And the machine has 2000 bytes for models
    And the queen keeps patience_ms at 300
    And a fleet
    And a worker of first
    When Ada asks first
    Then Ada has read one
    When Ben asks second
    Then Ben has a place
    When GO is released
    Then Ada is answered one two
    And Ben is answered three

  @INT-014
  Scenario: Two hundred requests are served, and the slots are all back
    Given a model tiny that says one
    And tiny has 4 slots
    And the queen keeps queue_per_model_max at 300
    And a fleet
    And a worker of tiny
    When 200 clients chat with tiny at once
    Then each of them is answered
    And the queen counts 0 waiting and 0 in flight
    And no slot of tiny is taken
