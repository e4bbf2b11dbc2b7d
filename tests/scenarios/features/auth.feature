Feature: Tokens
  Between machines nothing is said without the token; on one machine it may be left out.

  Background:
    Given a model tiny that says one

  @AUTH-001 @AUTH-002 @EH-017a @EH-017b @EC9 @AUTH-018
  Scenario Outline: <who> without the token is refused
    Given the fleet has a token
    And a fleet
    When <method> <path> is asked of <target> without a token
    Then the answer is 401 INVALID_TOKEN
    And the answer is an error with a code, a message and details
    When <method> <path> is asked of <target> with the header Bearer nonsense
    Then the answer is 401 INVALID_TOKEN

    Examples:
      | who      | method | path                | target    |
      | A client | POST   | /v1/inference       | the queen |
      | A hive   | POST   | /v1/hives           | the queen |
      | A queen  | GET    | /v1/report          | the hive  |
      | A worker | POST   | /v1/workers/ready   | the hive  |

  @AUTH-003 @AUTH-008 @AUTH-019 @FULL-002
  Scenario: With the token the whole chain works
    Given the fleet has a token
    And a fleet
    When Ada asks tiny
    Then Ada is answered one
    When POST /v1/inference is asked of the worker of tiny without a token
    Then the answer is 401 INVALID_TOKEN
    When someone runs penstock infer --model tiny --prompt go
    Then it exits with 0
    And it prints one

  @AUTH-009 @AUTH-017
  Scenario Outline: Every path of <target> is behind the token, but health and measures
    Given the fleet has a token
    And a fleet
    And a worker of tiny
    Then every path of <target> but the open ones wants a token

    Examples:
      | target             |
      | the queen          |
      | the hive           |
      | the worker of tiny |

  @AUTH-010 @AUTH-011 @AUTH-012 @AUTH-016
  Scenario Outline: A header "<header>" is <what>
    Given the fleet has a token
    And a queen
    When GET /v1/hives is asked of the queen with the header <header>
    Then the answer is <status>

    Examples:
      | header           | status | what              |
      | Bearer TOKEN     | 200    | what is wanted    |
      | bearer TOKEN     | 200    | as good           |
      | BEARER TOKEN     | 200    | as good           |
      | Basic TOKEN      | 401    | of another scheme |
      | TOKEN            | 401    | without a scheme  |
      | Bearer           | 401    | without a token   |
      | Bearer TOKENx    | 401    | too long          |
      | Bearer xTOKEN    | 401    | no end of one     |
      | Bearer TOKEN, a  | 401    | a list            |
      | BearerTOKEN      | 401    | without a blank   |
      | Bearer tökén     | 401    | more than ASCII   |

  @AUTH-013
  Scenario: Questions at once are told apart
    Given the fleet has a token
    And a queen
    Then 60 questions with tokens and without, at once, are told apart

  @AUTH-005
  Scenario: On one machine no token is needed
    Given a fleet
    When GET /v1/hives is asked of the queen
    Then the answer is 200

  @AUTH-006
  Scenario Outline: <what> that others can reach does not start without a token
    When someone without a queen runs penstock <words> --host 0.0.0.0
    Then it exits with 2
    And it says a token is needed
    And it says --token-file

    Examples:
      | what     | words                                     |
      | A queen  | queen --port 0                            |
      | A hive   | hive --port 0 --ports any --queen none    |

  @SEC-1 @SEC-12
  Scenario Outline: A token file <how> is taken
    Given a token file <how>
    When someone starts penstock queen --port 0 --token-file {root}/fleet.token
    Then the command serves
    When SIGTERM hits the command
    Then it exits with 0

    Examples:
      | how                         |
      | of mode 0600                |
      | of mode 0400                |
      | with no end of its line     |

  @SEC-2 @SEC-6 @SEC-7
  Scenario Outline: A token file <how> is refused
    Given a token file <how>
    When someone without a queen runs penstock queen --port 0 --token-file {root}/fleet.token
    Then it exits with 2
    And it says <says>
    And its output is empty

    Examples:
      | how                               | says             |
      | of mode 0644                      | others may read  |
      | of mode 0640                      | others may read  |
      | that is empty                     | is empty         |
      | of blanks                         | is empty         |
      | of two lines                      | several lines    |
      | with bytes that no header carries | no header        |
      | that is not there                 | does not exist   |
      | that is a folder                  | fleet.token      |

  @SEC-3
  Scenario: A credential of systemd is taken, whose rights are systemd's business
    Given a token file of mode 0644
    And it lies where systemd lays credentials
    When someone starts penstock queen --port 0 --token-file {root}/fleet.token
    Then the command serves
    When SIGTERM hits the command
    Then it exits with 0

  @SEC-8 @AUD-8 @AUD-6 @MET-12 @CFG-9
  Scenario: Nothing that is secret is written down
    Given the fleet has a token
    And a fleet
    When Ada asks tiny "attack at dawn"
    Then Ada is answered one
    When GET /v1/hives is asked of the queen with the header Bearer nonsense
    Then no log holds the token or the prompt
    And no measure holds a token or a prompt

  @AUTH-008
  Scenario: A hive with another token is not taken
    Given the fleet has a token
    And a queen
    When a hive with another token starts
    Then it exits with 6
    And it says INVALID_TOKEN
    And the queen lists no hive stranger
