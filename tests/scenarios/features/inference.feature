Feature: Inference
  Tokens come as they are made, in order, and the end is always said.

  @PH8-1 @E2E-1 @FULL-001 @PH1-2 @PH4-3
  Scenario: A prompt to a cold fleet brings up a worker and is answered
    Given a model tiny that says water runs over stone
    And a fleet
    When Ada asks tiny
    Then Ada is answered water runs over stone
    And Ada ends with stop
    And the workers of tiny are idle

  @PH8-1
  Scenario: The events of a stream come in their order
    Given a model tiny that says one two three
    And a fleet
    And a worker of tiny
    When Ada asks tiny
    Then Ada sees the events started, token, token, token, metrics, end, [DONE]
    And Ada has the numbers 0 to 2 in order

  @E2E-2 @PH1-2
  Scenario: A warm worker is used again
    Given a model tiny that says one
    And a fleet
    And a worker of tiny
    When Ada asks tiny
    And Ben asks tiny
    Then Ada is answered one
    And Ben is answered one
    And 1 workers of tiny were spawned in all

  @OPENAI
  Scenario Outline: OpenAI's clients are answered in their tongue
    Given a model tiny that says one two
    And a fleet
    When Ada chats <how>
    Then Ada is answered one two

    Examples:
      | how                        |
      | with tiny                  |
      | with tiny without a stream |

  @TOOLS
  Scenario: Tool calls are passed through
    Given a model tiny with the script
      """
      replies: [{tool_calls: [{name: look, arguments: {place: mill}}]}]
      repeat: true
      """
    And a fleet
    When Ada chats with tiny by the tools [{"type": "function", "function": {"name": "look"}}]
    Then Ada is given the tool call look with {"place":"mill"}

  @UTF8
  Scenario: Bytes are passed on as they are, wherever they were cut
    Given a model cut of a server that sends each byte by itself
    And a fleet
    When Ada chats with cut
    Then Ada has every byte that the server sent

  @UTF8
  Scenario: Characters of more than one byte come whole
    Given a model tiny that says naïve 水车 🌾
    And a fleet
    When Ada asks tiny
    Then Ada is answered naïve 水车 🌾

  @E2E900-5 @SLOW-READER
  Scenario: A reader who is slow loses nothing
    Given a model long of a server that says more than buffers hold to the first who asks
    And a fleet
    And a worker of long
    When Ada chats with long, and does not read
    And Ben chats with long
    Then Ben has all that the server says to others, in order
    And the server is held back in what it says to the first of them
    When Ada reads
    Then Ada has all that the server says to the first, in order
    And no slot of long is taken

  @DL-2 @DL-5
  Scenario: A deadline that passes before the first token is a status
    Given a model slow that says one two, and waits for GO after 0
    And a fleet
    And a worker of slow
    When Ada chats with slow for at most 300 ms
    Then Ada is refused with 408 DEADLINE_EXCEEDED
    And no slot of slow is taken

  @DL-2 @DL-6
  Scenario: A deadline that passes in mid-stream ends it, and frees the slot
    Given a model slow that says one two, and waits for GO after 1
    And a fleet
    And a worker of slow
    When Ada asks slow with the fields {"deadline_ms": 500}
    Then Ada is told DEADLINE_EXCEEDED after one
    And no slot of slow is taken

  @DL-1 @DL-3 @DL-7
  Scenario: Time in the queue counts against the deadline
    Given a model slow that says one two, and waits for GO after 1
    And a fleet
    And a worker of slow
    When Ada asks slow
    Then Ada has read one
    When Ben chats with slow for at most 400 ms
    Then Ben is refused with 408 DEADLINE_EXCEEDED
    And Ben is told DEADLINE_EXCEEDED within 3000 ms
    And the queen counts 0 waiting and 1 in flight

  @DL-8
  Scenario Outline: A request that names no deadline has one all the same
    Given a model slow that says one two, and waits for GO after 0
    And the queen keeps request_deadline_ms at 300
    And a fleet
    And a worker of slow
    When Ada <asks>
    Then Ada is told DEADLINE_EXCEEDED
    And no slot of slow is taken

    Examples:
      | asks                            |
      | asks slow                       |
      | chats with slow                 |
      | chats with slow without a stream |

  @DL-4
  Scenario Outline: A deadline that is none is refused
    Given a model tiny that says one
    And a fleet
    When a prompt comes with the header x-deadline-ms <what>
    Then the answer is 400 INVALID_REQUEST
    And its details name the fields x-deadline-ms

    Examples:
      | what |
      | soon |
      | -5   |
      | 0    |

  @GAP-G12c @EC5
  Scenario Outline: A request is cancelled by its id while it <when>
    Given a model slow that says one two three, and waits for GO after <after>
    And a model cold that waits for LOAD while it loads
    And a fleet
    And a worker of slow
    When Ada asks slow
    Then Ada has a place
    When Ben asks <model>
    Then Ben waits for <phase>
    When the request of <client> is cancelled
    Then the answer is 204
    And <client> ends with canceled
    When the request of <client> is cancelled
    Then the answer is 204

    Examples:
      | when                        | after | model | phase   | client |
      | streams                     | 1     | slow  | queued  | Ada    |
      | has no token                | 0     | slow  | queued  | Ada    |
      | is in the queue             | 1     | slow  | queued  | Ben    |
      | waits for a model that loads | 1    | cold  | loading | Ben    |

  @GAP-G12c
  Scenario: Whoever was cancelled makes room for the next
    Given a model slow that says one two, and waits for GO after 1
    And a fleet
    And a worker of slow
    When Ada asks slow
    Then Ada has read one
    When Ben asks slow
    Then Ben waits for queued
    When the request of Ada is cancelled
    Then Ben has read one
    And the queen counts 0 waiting and 1 in flight

  @GAP-G12c
  Scenario: An id that nobody knows cannot be cancelled
    Given a model tiny that says one
    And a fleet
    When DELETE /v1/inference/r-never is asked of the queen
    Then the answer is 404 UNKNOWN_REQUEST

  @GAP-G12c
  Scenario: A request that has ended may be cancelled
    Given a model tiny that says one
    And a fleet
    When Ada asks tiny
    Then Ada is answered one
    When the request of Ada is cancelled
    Then the answer is 204

  @GAP-G12b @LEFT-1
  Scenario Outline: A client that leaves while it <when> frees what it had
    Given a model slow that says one two three, and waits for GO after <after>
    And a fleet
    And a worker of slow
    When Ada asks slow
    Then Ada <sees>
    When Ada leaves
    Then the queen counts 0 waiting and 0 in flight
    And no slot of slow is taken
    And the worker of slow makes no more tokens

    Examples:
      | when         | after | sees         |
      | streams      | 1     | has read one |
      | has no token | 0     | has a place  |

  @LEFT-2
  Scenario: A client that leaves the queue is not served later
    Given a model slow that says one two, and waits for GO after 1
    And a fleet
    And a worker of slow
    When Ada asks slow
    Then Ada has read one
    When Ben asks slow
    Then Ben waits for queued
    When Ben leaves
    Then the queen counts 0 waiting and 1 in flight
    When GO is released
    Then Ada is answered one two
    And the worker of slow makes no more tokens

  @LEFT-3
  Scenario: A client that leaves while its worker is spawned leaves the worker to others
    Given a model cold that waits for LOAD while it loads
    And a fleet
    When Ada asks cold
    Then Ada waits for loading
    When Ada leaves
    Then the queen counts 0 waiting and 0 in flight
    When LOAD is released
    Then the workers of cold are idle
    When Ben asks cold
    Then Ben is answered loaded

  @LEFT-4
  Scenario: A client that leaves a call without a stream stops the engine
    Given a model slow that says one two, and waits for GO after 1
    And a fleet
    And a worker of slow
    When Ada chats with slow without a stream
    Then the queen counts 0 waiting and 1 in flight
    When Ada leaves
    Then the queen counts 0 waiting and 0 in flight
    And no slot of slow is taken

  @EC4 @EH-013a @EH-003a @FULL-005 @EXIT-0 @NO-END
  Scenario Outline: What came before a worker <dies> is kept, and the end is said
    Given a model tiny with the script
      """
      replies: [{tokens: [one, " two", " three"], fault: {kind: <kind>, after: 2}}]
      repeat: true
      """
    And a fleet
    And a worker of tiny
    When Ada <asks> tiny
    Then Ada is told <code> after one two

    Examples:
      | dies                      | kind           | asks       | code             |
      | is killed                 | crash          | asks       | WORKER_CRASHED   |
      | is killed                 | crash          | chats with | WORKER_CRASHED   |
      | exits as if all were well | exit           | asks       | WORKER_CRASHED   |
      | exits as if all were well | exit           | chats with | WORKER_CRASHED   |
      | says garbage              | garbage        | asks       | BAD_ENGINE_REPLY |
      | forgets its last event    | no_end         | asks       | BAD_ENGINE_REPLY |
      | forgets its last event    | no_end         | chats with | WORKER_CRASHED   |

  @FULL-009 @ERRS-3
  Scenario: An error of a worker reaches the client with the id of the request, which both logs have
    Given a model tiny with the script
      """
      replies: [{status: 418, error: {message: no tea here, code: TEAPOT}}]
      repeat: true
      """
    And a fleet
    And a worker of tiny
    When Ada chats with tiny as mill-4713 for at most 9000 ms
    Then Ada is refused with 418 TEAPOT
    And the head of the answer of Ada has the id mill-4713
    And the log of the queen has the line inference of mill-4713
    And the log of the worker of tiny has the line inference of mill-4713

  @ERRS-5
  Scenario Outline: Who is told that a worker <dies> is not told where anything is
    Given the fleet has a token
    And a model tiny with the script
      """
      replies: [{tokens: [one, " two"], fault: {kind: <kind>, after: <after>}}]
      repeat: true
      """
    And a fleet
    And a worker of tiny
    When Ada <asks> tiny
    Then Ada is told <code>
    And Ada is told no path, no address and no token

    Examples:
      | dies                  | kind    | after | asks       | code             |
      | is killed             | crash   | 1     | asks       | WORKER_CRASHED   |
      | is killed             | crash   | 1     | chats with | WORKER_CRASHED   |
      | is killed at once     | crash   | 0     | chats with | WORKER_FAILED    |
      | exits                 | exit    | 0     | asks       | WORKER_FAILED    |
      | says garbage          | garbage | 1     | asks       | BAD_ENGINE_REPLY |

  @ERRS-5
  Scenario Outline: Who is told that a model <cannot> is not told where anything is
    Given the fleet has a token
    And a model bad that is served by the command <command> --port {port}
    And a fleet
    When Ada chats with bad
    Then Ada is told <code>
    And Ada is told no path, no address and no token

    Examples:
      | cannot         | command         | code                |
      | has no program | no-such-program | BACKEND_UNAVAILABLE |
      | cannot start   | false           | LOAD_FAILED         |

  @ERRS-5
  Scenario: Who is told that no hive is heard is not told where they were
    Given the fleet has a token
    And a model tiny that says one
    And the queen keeps heartbeat_ms at 100
    And the queen keeps stale_ms at 600
    And a fleet
    When SIGKILL hits the hive
    And Ada chats with tiny
    Then Ada is told no path, no address and no token
    And the queen lists the hive here as lost
    When Ben chats with tiny
    Then Ben is told NO_HIVE
    And Ben is told no path, no address and no token

  @SPEED-crash @MET-9
  Scenario: A crash in mid-stream is told at once
    Given a model tiny that says one two three, and waits for GO after 2
    And a fleet
    And a worker of tiny
    When Ada asks tiny
    Then Ada has read one two
    When SIGKILL hits the worker of tiny
    Then Ada is told WORKER_CRASHED within 1000 ms of that
    And the workers of tiny are idle
    And the measures of the hive have penstock_hive_failures_total{code="WORKER_FAILED",model="tiny"} 1

  @E2E900-2
  Scenario Outline: A worker that dies before the first token is replaced unseen
    Given a model tiny with the script
      """
      replies:
        - {tokens: [first], fault: {kind: crash}, once: CRASH}
        - {tokens: [second, " try"]}
      repeat: true
      """
    And tiny may have 2 workers
    And a fleet
    And 2 workers of tiny
    When Ada <asks>
    Then Ada is answered second try
    And the measures of the queen have penstock_queen_retries_total{model="tiny"} 1

    Examples:
      | asks                             |
      | asks tiny                        |
      | chats with tiny                  |
      | chats with tiny without a stream |

  @E2E900-2
  Scenario: It is tried once more, and no more
    Given a model tiny with the script
      """
      replies: [{tokens: [never], fault: {kind: crash}}]
      repeat: true
      """
    And tiny may have 3 workers
    And a fleet
    And 3 workers of tiny
    When Ada chats with tiny without a stream
    Then Ada is refused with 502 WORKER_FAILED

  @PH1-3 @PH8-2
  Scenario: A worker whose slots are taken says so, and how many it has
    Given a model slow that says one two, and waits for GO after 1
    And a fleet
    And a worker of slow
    When Ada asks slow
    Then Ada has read one
    When POST /v1/inference is asked of the worker of slow with the body {"prompt": "go"}
    Then the answer is 503 ALL_SLOTS_BUSY
    And its details have slots-total 1
    And its details have slots-available 0
    And the answer has a whole Retry-After

  @GAP-C4 @PH6-1
  Scenario: Of many who want the last slot one gets it
    Given a model slow that says one two, and waits for GO after 1
    And slow has 3 slots
    And a fleet
    And a worker of slow
    When 20 clients ask the worker of slow at once
    And 17 of them are refused
    And GO is released 3 times
    Then 3 of them are answered, and 17 are told ALL_SLOTS_BUSY
    And no slot of slow is taken

  @DUPLICATE-ID
  Scenario: An id is for one request at a time
    Given a model slow that says one two, and waits for GO after 1
    And a fleet
    When Ada asks slow with the fields {"request_id": "mine"}
    Then Ada has read one
    When Ben asks slow with the fields {"request_id": "mine"}
    Then Ben is refused with 409 DUPLICATE_REQUEST
    When GO is released
    Then Ada is answered one two
    When Cora asks slow with the fields {"request_id": "mine"}
    And GO is released
    Then Cora is answered one two

  @MAX-TOKENS
  Scenario: No more tokens are made than were asked for
    Given a model tiny that says one two three four
    And a fleet
    When Ada asks tiny with the fields {"max_tokens": 2}
    Then Ada is answered one two
    And Ada ends with length
