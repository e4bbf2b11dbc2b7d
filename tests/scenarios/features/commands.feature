Feature: Commands
  Each ends with a code that says how, and with what to do.

  @CLI-1 @E2E-2
  Scenario: infer prints the answer and nothing else
    Given a model tiny that says one two
    And a fleet
    When someone runs penstock infer --model tiny --prompt go
    Then it exits with 0
    And it prints one two
    When someone pipes go into penstock infer --json
    Then it exits with 0
    And its data has text one two
    And its data has stop_reason stop

  @LC-6 @E2E-1 @KILL-CHAIN
  Scenario: Without a queen infer brings a chain of its own, and leaves nothing
    Given a model tiny that says one two
    And the catalogue is written
    And nobody is at the usual place
    When someone without a queen runs penstock infer --prompt go
    Then it exits with 0
    And it prints one two
    And it says no queen runs here
    And nothing runs in its folder any more

  @KILL-CHAIN @EC5 @GAP-G12a
  Scenario Outline: infer that is ended by <signal> in mid-stream takes its chain along
    Given a model slow that says one two, and waits for GO after 1
    And the catalogue is written
    And nobody is at the usual place
    When someone starts penstock infer --prompt go
    Then the command has printed one
    And 4 programs run in its folder
    When <signal> hits the command
    Then it ends by <signal>
    And nothing runs in its folder any more

    Examples:
      | signal  |
      | SIGINT  |
      | SIGKILL |

  @EC5 @GAP-G12a
  Scenario: Ctrl-C stops the engine and frees the slot
    Given a model slow that says one two, and waits for GO after 1
    And a fleet
    And a worker of slow
    When someone starts penstock infer --model slow --prompt go
    Then the command has printed one
    When SIGINT hits the command
    Then it exits with 130
    And no slot of slow is taken
    And the queen counts 0 waiting and 0 in flight

  @EC4 @EH-013a
  Scenario: What was printed stays when the worker dies
    Given a model tiny with the script
      """
      replies: [{tokens: [one, " two", " three"], fault: {kind: crash, after: 2}}]
      repeat: true
      """
    And a fleet
    When someone runs penstock infer --model tiny --prompt go --max-tokens 20
    Then it exits with 1
    And it prints one two
    And it says WORKER_CRASHED
    And it says tokens 2/20

  @EC6 @PH8-2
  Scenario: Who meets a full queue comes again, and is served
    Given a model slow that says one two, and waits for GO after 1
    And the queen keeps queue_per_model_max at 1
    And a fleet
    And a worker of slow
    When Ada asks slow
    Then Ada has read one
    When 1 clients wait for slow
    And someone starts penstock infer --model slow --prompt go
    Then it says requests wait for this model already
    When GO is released 3 times
    Then it exits with 0
    And it prints one two

  @CLI-EXIT @REG-6 @INS-3
  Scenario Outline: <words> ends with <n>
    Given an address where nobody listens
    When someone runs penstock <words>
    Then it exits with <n>
    And it says <says>

    Examples:
      | words                                       | n | says              |
      | infer --prompt x                            | 7 | penstock queen    |
      | workers                                     | 7 | penstock queen    |
      | hives list                                  | 7 | penstock queen    |
      | infer --prompt "" --queen http://x          | 2 | prompt is empty   |
      | infer --prompt x --model "a b"              | 2 | --model           |
      | infer --prompt x --queen ftp://x            | 2 | --queen           |
      | queen --port 70000                          | 2 | --port            |
      | hive --ports 9-8                            | 2 | FIRST-LAST        |
      | worker --model nowhere                      | 2 | --model           |
      | models show nowhere                         | 2 | models list       |

  @CLI-EXIT
  Scenario: A model that nobody has is refused with 6
    Given a model tiny that says one
    And a fleet
    When someone runs penstock infer --model other --prompt go
    Then it exits with 6
    And it says MODEL_NOT_FOUND

  @CLI-2 @CLI-3 @CLI-4 @LC-5
  Scenario: Workers are listed, shown and ended
    Given a model tiny that says one
    And a fleet
    And a worker of tiny
    When someone runs penstock workers list
    Then it prints idle
    When someone runs penstock workers show {worker} --json
    Then its data has state idle
    When someone runs penstock workers end {worker}
    Then it exits with 0
    And the list says at once that the workers of tiny are none
    And the hive is alive

  @CLI-5
  Scenario: The log of a worker is followed until Ctrl-C
    Given a model tiny that says one
    And a fleet
    And a worker of tiny
    When someone starts penstock workers logs {worker} --follow
    Then the command has printed loaded
    When SIGINT hits the command
    Then it exits with 130

  @CLI-5
  Scenario: A log is followed until its worker has ended, and is there afterwards
    Given a model tiny that says one
    And a fleet
    And a worker of tiny
    When someone starts penstock workers logs {worker} --follow
    Then the command has printed loaded
    When the worker of tiny is ended by its id
    Then it exits with 0
    When the log of that worker is asked of the queen
    Then the answer is 200
    And it is the whole log, byte by byte

  @CLI-5
  Scenario Outline: The queen passes on what the hive says of the log of <worker>
    Given a model tiny that says one
    And a fleet
    When GET /v1/workers/<worker>/logs<query> is asked of the queen
    Then the answer is <status>

    Examples:
      | worker         | query       | status              |
      | w-never        |             | 404 UNKNOWN_WORKER  |
      | ..%2Fhive-here |             | 404 NOT_FOUND       |
      | w.log          |             | 404 UNKNOWN_WORKER  |
      | w-never        | ?lines=many | 400 INVALID_REQUEST |

  @INS-3 @CFG-1 @CFG-4
  Scenario: What a flag says comes before the environment, and that before the user's own file
    Given a model tiny that says one
    And a fleet
    And the user's own file says queen = "http://127.0.0.1:1"
    When someone runs penstock workers list
    Then it exits with 0
    When someone without a queen runs penstock workers list
    Then it exits with 7
    When someone runs penstock workers list --queen http://127.0.0.1:1
    Then it exits with 7

  @CFG-2 @CFG-5 @CFG-6
  Scenario Outline: A file of the user's that is wrong stops every command, and says where
    Given the user's own file says <text>
    When someone without a queen runs penstock workers list
    Then it exits with 2
    And it says fleet.toml
    And it says <says>

    Examples:
      | text                 | says       |
      | queen = "ftp://x"    | no address |
      | quen = "http://x"    | quen       |
      | queen = [            | fleet.toml |
