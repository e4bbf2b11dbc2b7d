Feature: Starting a worker
  Ready means ready, and what does not start says why.

  @PH5-1 @PH5-2 @PH6-1 @PH7-3 @PROV-2 @LIFE-001 @LIFE-002
  Scenario: A worker that is idle can be asked at once, and is listed with what it is
    Given a model tiny that says one
    And tiny has 3 slots
    And a fleet
    When somebody asks for a worker of tiny
    Then the answer is 200
    And its state is idle
    And the worker of tiny is listed with its address, backend scripted, device cpu, 3 slots and its process
    When GET /v1/ready is asked of the worker of tiny
    Then its ready is true
    And its model-loaded is true
    When Ada asks the worker of tiny
    Then Ada is answered one
    And ps shows penstock worker ID for the worker of tiny

  @PH7-1 @PH7-2
  Scenario: A worker that loads says how far it is
    Given a model cold that waits for LOAD while it loads
    And a fleet
    When somebody asks for a worker of cold, and does not wait
    Then the workers of cold are loading
    When GET /v1/ready is asked of the worker of cold
    Then its ready is false
    And its state is loading
    When Ben asks the worker of cold
    Then Ben is refused with 503 NOT_READY
    When Ada follows the loading of the worker of cold
    Then Ada hears that 2 of 2 layers are loaded, and of no end yet
    When LOAD is released
    Then Ada hears of the end of it
    And the workers of cold are idle
    When the progress of the worker of cold is followed
    Then it ends with end and [DONE]

  @PH7-4 @EC7 @EH-016a @LIFE-006 @LOAD-DEADLINE
  Scenario: A load that makes no progress for too long is ended
    Given a model cold that waits for LOAD while it loads
    And the hive keeps load_ms_max at 300
    And a fleet
    When somebody asks for a worker of cold
    Then the answer is 502 LOADING_TIMEOUT
    And a worker of cold has failed with LOADING_TIMEOUT
    And all workers have ended within 1000 ms

  @LOAD-DEADLINE
  Scenario: A load that goes on may take longer than the deadline
    Given a model cold with the script
      """
      replies: [{tokens: [loaded]}]
      repeat: true
      load: {steps: 12, ms: 1800}
      """
    And the hive keeps load_ms_max at 900
    And a fleet
    When somebody asks for a worker of cold
    Then the answer is 200

  @EH-012c @EH-004b @INT-008 @FULL-009
  Scenario Outline: A worker that <dies> while it loads is told with its last words
    Given a model bad with the script
      """
      replies: [{text: never}]
      load: {hold: LOAD, fault: <fault>, message: no such layer}
      """
    And a fleet
    When somebody asks for a worker of bad, and does not wait
    Then the workers of bad are loading
    When LOAD is released
    Then a worker of bad has failed with LOAD_FAILED
    And its message in the list says <words>
    And all workers have ended within 1000 ms

    Examples:
      | dies         | fault | words         |
      | is killed    | crash | signal 9      |
      | exits        | exit  | status 1      |
      | cannot load  | fail  | no such layer |

  @EH-012c @FULL-009
  Scenario: Who waits for a model that cannot be loaded is told
    Given a model bad with the script
      """
      replies: [{text: never}]
      load: {fault: fail, message: no such layer}
      """
    And a fleet
    When Ada asks bad
    Then Ada is told LOAD_FAILED
    And the queen counts 0 waiting and 0 in flight
    When Ben chats with bad
    Then Ben is refused with 502 LOAD_FAILED

  @PH4-4 @EH-009a @EH-012a @EH-020c @HP-3
  Scenario Outline: A backend that is not here is refused
    Given a model tiny that is served by the command <command> --port {port}
    And the command here-but-no-program is no program that can be run
    And a fleet
    When somebody asks for a worker of tiny
    Then the answer is 503 BACKEND_UNAVAILABLE
    And the workers of tiny are none

    Examples:
      | command             |
      | no-such-program     |
      | here-but-no-program |

  @EH-009b @EH-005a
  Scenario: A device that the machine does not have is refused
    Given a model tiny that says one
    And tiny wants the device gpu0
    And a fleet
    When somebody asks for a worker of tiny
    Then the answer is 503 BACKEND_UNAVAILABLE
    And its message says gpu0

  @EC3 @EH-005a
  Scenario: Graphics cards are found, and models are placed by their memory
    Given a model small that says one
    And small takes 1048576 bytes
    And small wants the device gpu1
    And a model large that says one
    And large takes 1048577 bytes
    And large wants the device gpu1
    And nvidia-smi that says 0, 24564, 24564 and 1, 81920, 1
    And a fleet
    When somebody asks for a worker of large
    Then the answer is 503 INSUFFICIENT_MEMORY
    When somebody asks for a worker of small
    Then the answer is 200
    When someone runs penstock hives list
    Then it prints gpu0 25.8 GB gpu1 85.9 GB

  @EH-009b
  Scenario Outline: nvidia-smi that <does> costs no hive, and is told
    Given a model tiny that says one
    And nvidia-smi that <does>
    And a fleet
    When someone runs penstock hives list
    Then it exits with 0
    And it says nvidia-smi <told>

    Examples:
      | does          | told                 |
      | fails         | exited with status 9 |
      | says nonsense | said what            |

  @PH4-2 @EC3 @EH-005a @HP-4
  Scenario: A model that does not fit is refused with what it needs and what there is
    Given a model large that says one
    And large takes 3000 bytes
    And the machine has 2000 bytes for models
    And a fleet
    When Ada chats with large
    Then Ada is refused with 503 INSUFFICIENT_MEMORY
    When somebody asks for a worker of large
    Then the answer is 503 INSUFFICIENT_MEMORY
    And its details have required-bytes 3000
    And its details have available-bytes 2000
    And its details have device cpu

  @PH4-1 @EVICTION
  Scenario: An idle worker makes room for another model
    Given a model first that says one
    And first takes 1500 bytes
    And a model second that says two
    And second takes 1500 bytes
    And the machine has 2000 bytes for models
    And a fleet
    And a worker of first
    When Ada asks second
    Then Ada is answered two
    And the workers of first are none

  @EH-012b
  Scenario: A port that is taken is passed over
    Given a model tiny that says one
    And a hive of its own with 2 ports
    And another program listens at the first of them
    When somebody asks for a worker of tiny
    Then the answer is 200
    And the worker of tiny listens at the second of them

  @PORTS-EXHAUSTED
  Scenario: Ports that are all taken are a clear error, and the hive lives
    Given a model tiny that says one
    And tiny may have 3 workers
    And a hive of its own with 1 ports
    When somebody asks for a worker of tiny
    Then the answer is 200
    When somebody asks for a worker of tiny
    Then the answer is 503 PORTS_EXHAUSTED
    When GET /v1/health is asked of the hive
    Then its status is ok

  @PORTS-EXHAUSTED
  Scenario: Who waits for a model is told at once that other programs have every port
    Given a model tiny that says one
    And a hive may have 1 ports
    And another program listens at the first of them
    And a fleet
    When Ada chats with tiny
    Then Ada is refused with 503 PORTS_EXHAUSTED
    And the answer of Ada has a whole Retry-After
    When Ben asks tiny
    Then Ben is told PORTS_EXHAUSTED within 4000 ms
    When somebody asks for a worker of tiny
    Then the answer is 503 PORTS_EXHAUSTED
    And the answer has a whole Retry-After

  @PORTS-EXHAUSTED
  Scenario: A port that another program gives back is used
    Given a model tiny that says one
    And a hive may have 1 ports
    And another program listens at the first of them
    And a fleet
    When Ada chats with tiny
    Then Ada is refused with 503 PORTS_EXHAUSTED
    When that program ends
    Then a chat with tiny is answered within 10 s

  @PORTS-EXHAUSTED @EVICTION
  Scenario: An idle worker gives its port to another model
    Given a model first that says one
    And a model second that says two
    And a hive may have 1 ports
    And a fleet
    And a worker of first
    When Ada asks second
    Then Ada is answered two
    And the workers of first are none

  @EH-012b
  Scenario: A port that is asked for and taken is refused
    Given a model tiny that says one
    And a hive of its own with 1 ports
    And another program listens at the first of them
    When somebody asks for a worker of tiny at the first of them
    Then the answer is 409 PORT_TAKEN

  @PORT-STOLEN
  Scenario: Two hives that race for the same ports never share one
    Given a model tiny that says one
    And tiny may have 8 workers
    And a hive of its own with 5 ports
    And a second hive of its own with the same ports
    When both hives are asked for 3 workers of tiny each at once
    Then 5 workers of tiny serve at ports of their own, and 1 are refused with PORTS_EXHAUSTED

  @CALLBACK-FORGED
  Scenario: A forged callback changes nothing
    Given a model tiny that says one
    And a hive of its own
    And a worker of tiny
    When somebody without the nonce calls back as the worker of tiny
    Then the answer is 403 FORGED
    And the workers of tiny are idle

  @CALLBACK-LATE
  Scenario: A callback of a worker that nobody spawned is not taken
    Given a model tiny that says one
    And a hive of its own
    When a worker that this hive never spawned calls back with a nonce
    Then the answer is 410 GONE
    And the workers of tiny are none

  @CALLBACK-TWICE
  Scenario: A callback that comes twice has no effect
    Given a model tiny that says one
    And a hive of its own
    When a worker that was started by hand calls back
    Then the answer is 200
    And its repeated is false
    When a worker that was started by hand calls back once more
    Then the answer is 200
    And its repeated is true

  @CALLBACK-LOST
  Scenario: A callback that is lost is sent again
    Given a model tiny that says one
    And a place where callbacks go that loses the first of them
    When a worker of tiny is started by hand for that place
    Then that place hears it once

  @BY-HAND @LC-7
  Scenario: A worker that was started by hand serves, and is ended by nobody else
    Given a model tiny that says one
    And a fleet
    And a worker of tiny that was started by hand
    When Ada asks tiny
    Then Ada is answered one
    And 0 workers of tiny were spawned in all
    When DELETE /v1/workers/by-hand is asked of the queen
    Then the answer is 409 NOT_OURS
    When SIGTERM hits the hive
    Then the hive exits with 0
    And the worker of tiny that was started by hand is alive

  @COLD-START
  Scenario: Without a template workers are started cold
    Given a model tiny that says one
    And a hive without a template
    And a fleet
    When Ada asks tiny
    Then Ada is answered one
    And the measures of the hive have penstock_hive_spawns_total{model="tiny",way="cold"} 1

  @LIFE-007-spawn
  Scenario: Many workers that are asked for at once all come
    Given a model tiny that says one
    And tiny may have 6 workers
    And a hive of its own
    When 6 workers of tiny are asked for at once
    Then the list says at once that the workers of tiny are idle, idle, idle, idle, idle, idle

  @WORKERS-MAX
  Scenario: No more workers are spawned than a model may have
    Given a model tiny that says one
    And a hive of its own
    And a worker of tiny
    When somebody asks for a worker of tiny
    Then the answer is 503 WORKERS_EXHAUSTED
