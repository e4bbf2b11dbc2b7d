Feature: What is sent is checked
  Every fault at once, by the name of its field, and never what it held.

  Background:
    Given a model tiny that says one
    And a fleet

  @VAL-025 @ERRS-2 @ERRS-5 @ERRS-8 @ERRS-9 @ERR-1
  Scenario Outline: POST <path> with <what> is refused
    When POST <path> gets <what>
    Then the answer is <status> <code>
    And the answer is an error with a code, a message and details

    Examples:
      | path                 | what               | status | code            |
      | /v1/inference        | no JSON            | 400    | INVALID_JSON    |
      | /v1/inference        | no object          | 400    | INVALID_REQUEST |
      | /v1/inference        | no UTF-8           | 400    | INVALID_JSON    |
      | /v1/inference        | deep nesting       | 400    | INVALID_JSON    |
      | /v1/inference        | nothing            | 400    | INVALID_REQUEST |
      | /v1/inference        | an unknown field   | 400    | INVALID_REQUEST |
      | /v1/inference        | two megabytes      | 413    | BODY_TOO_LARGE  |
      | /v1/chat/completions | no JSON            | 400    | INVALID_JSON    |
      | /v1/chat/completions | nothing            | 400    | INVALID_REQUEST |
      | /v1/chat/completions | two megabytes      | 413    | BODY_TOO_LARGE  |
      | /v1/hives            | no JSON            | 400    | INVALID_JSON    |
      | /v1/hives            | nothing            | 400    | INVALID_REQUEST |
      | /v1/hives            | two megabytes      | 413    | BODY_TOO_LARGE  |
      | /v1/workers/spawn    | no JSON            | 400    | INVALID_JSON    |
      | /v1/workers/spawn    | an unknown field   | 400    | INVALID_REQUEST |

  @VAL-022 @VAL-ALL
  Scenario: All fields that are wrong are named at once
    When POST /v1/inference gets three wrong fields
    Then the answer is 400 INVALID_REQUEST
    And its details name the fields prompt, max_tokens, temperature

  @VAL-ALL
  Scenario Outline: What is wrong in every way is told in one answer of <target>
    Given a worker of tiny
    When a prompt that is wrong in every way is sent to <target>
    Then the answer is 400 INVALID_REQUEST
    And its details name the fields prompt, model, max_tokens, stop[1], stop[2], request_id, x-deadline-ms
    And what was sent is nowhere in the answer

    Examples:
      | target             |
      | the queen          |
      | the worker of tiny |

  @VAL-ALL
  Scenario: A callback that is wrong in every way is told so in one answer
    When a callback comes that is wrong in every way
    Then the answer is 400 INVALID_REQUEST
    And its details name the fields worker_id, url, model_ref, backend, slots, pid

  @VAL-ALL
  Scenario: A field that is missing is named
    When POST /v1/inference gets no prompt
    Then its details name the fields prompt

  @EH-015a @VAL-001 @VAL-002 @VAL-003 @VAL-004 @VAL-005 @VAL-007 @VAL-008 @VAL-009 @VAL-011 @VAL-018 @VAL-019 @VAL-021 @VAL-024
  Scenario Outline: A model is not called <text>
    When a prompt names the model <text>
    Then the answer is 400 INVALID_REQUEST
    And its details name the fields model
    And what was sent is nowhere in the answer

    Examples:
      | text                      |
      | "tiny\\nx"                |
      | "tiny\r\\nset-cookie: x"  |
      | "\u001b[31mtiny"          |
      | "tiny\u0000"              |
      | "../../etc/passwd"        |
      | "/etc/passwd"             |
      | "tiny;id"                 |
      | "tiny`id`"                |
      | "tiny\|id"                |
      | "tiny//x"                 |
      | "-tiny"                   |
      | "' or 1=1 --"             |
      | "<script>x</script>"      |
      | "tïny"                    |
      | "tiny "                   |

  @VAL-010
  Scenario Outline: A model may be called <text>
    When a prompt names the model <text>
    Then the answer is 404 MODEL_NOT_FOUND

    Examples:
      | text                        |
      | "t"                         |
      | "7b"                        |
      | "qwen2.5-coder:7b"          |
      | "team/tiny@v1+q4_K_M"       |
      | "hf.co/Team/Tiny-GGUF:Q8_0" |

  @VAL-006
  Scenario: A link is not followed where the name of a worker leads to it
    Given a worker of tiny
    When the worker of tiny is ended by its id
    And somebody puts a link to the catalogue in place of its log
    And the log of that worker is asked of the queen
    Then nothing of the catalogue is in the answer

  @VAL-012 @VAL-001 @VAL-004
  Scenario Outline: A request has no id <text>
    When a prompt asks for the request id <text>
    Then the answer is 400 INVALID_REQUEST
    And its details name the fields request_id
    And what was sent is nowhere in the answer

    Examples:
      | text       |
      | "a b"      |
      | "a/../b"   |
      | "a\r\\nb"  |
      | "-x"       |
      | "ü"        |

  @VAL-017 @VAL-016 @VAL-013
  Scenario Outline: A hive does not register with <field> <text>
    When a hive registers with <field> <text>
    Then the answer is 400 INVALID_REQUEST
    And what was sent is nowhere in the answer

    Examples:
      | field    | text                                   |
      | name     | "No_Name"                              |
      | name     | "-edge"                                |
      | name     | "a.b"                                  |
      | name     | ""                                     |
      | name     | "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" |
      | url      | "file:///etc/passwd"                   |
      | url      | "nowhere"                              |
      | instance | ""                                     |
      | epoch    | -1                                     |

  @EH-015b @EH-015c @VAL-014 @VAL-015 @VAL-016
  Scenario Outline: A spawn is not asked for with <field> <text>
    When a spawn is asked for with <field> <text>
    Then the answer is 400 INVALID_REQUEST
    And what was sent is nowhere in the answer

    Examples:
      | field   | text      |
      | backend | "cuda11"  |
      | port    | 80        |
      | port    | 70000     |
      | port    | "8001"    |
      | model   | 17        |

  @VAL-012 @VAL-013 @CALLBACK-FORGED
  Scenario Outline: A worker does not call back with <limit> <text>
    When a callback comes with <limit> <text>
    Then the answer is 400 INVALID_REQUEST
    And what was sent is nowhere in the answer

    Examples:
      | limit     | text                 |
      | worker_id | "a b"                |
      | worker_id | "../x"               |
      | worker_id | "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" |
      | url       | "file:///etc/passwd" |
      | model_ref | "../../x"            |
      | backend   | "ssh"                |
      | slots     | 0                    |
      | pid       | -1                   |
      | state     | "busy"               |

  @VAL-020 @ERRS-1
  Scenario Outline: Bodies of chance do <target> no harm
    When 500 bodies of chance are sent to <path> of <target>
    Then each of them was refused as bad input
    When GET /v1/health is asked of <target>
    Then its status is ok

    Examples:
      | path              | target    |
      | /v1/inference     | the queen |
      | /v1/hives         | the queen |
      | /v1/workers/ready | the hive  |
      | /v1/workers/spawn | the hive  |

  @VAL-025 @ERRS-10
  Scenario Outline: <method> <path> of the queen is <code>
    When <method> <path> is asked of the queen
    Then the answer is <status> <code>

    Examples:
      | method | path                           | status | code               |
      | GET    | /v1/nothing                    | 404    | NOT_FOUND          |
      | GET    | /v1/inference                  | 405    | METHOD_NOT_ALLOWED |
      | DELETE | /v1/hives                      | 405    | METHOD_NOT_ALLOWED |
      | PUT    | /v1/hives                      | 405    | METHOD_NOT_ALLOWED |
      | GET    | /v1/workers/w-none             | 404    | UNKNOWN_WORKER     |
      | DELETE | /v1/workers/w-none             | 404    | UNKNOWN_WORKER     |
      | GET    | /v1/hives/%2e%2e%2fetc         | 404    | NOT_FOUND          |
      | GET    | /v1/models/..%2f..%2fetc       | 404    | MODEL_NOT_FOUND    |
