Feature: What can be seen
  Measures, ids that join the logs, and documents.

  Background:
    Given a model tiny that says one two three
    And a fleet
    And a worker of tiny

  @MET-1 @MET-2
  Scenario Outline: The measures of <target> can be scraped
    Then the measures of <target> are in Prometheus' format

    Examples:
      | target             |
      | the queen          |
      | the hive           |
      | the worker of tiny |

  @MET-3 @MET-4 @MET-5 @MET-10
  Scenario: What was asked is counted
    When Ada asks tiny
    Then Ada is answered one two three
    And the measures of the queen have penstock_queen_requests_total{model="tiny",outcome="ok"} +
    And the measures of the queen have penstock_queen_tokens_total{model="tiny"} +
    And the measures of the queen have penstock_queen_first_token_seconds_count{model="tiny"} +
    And the measures of the queen have penstock_queen_workers{state="idle"} 1
    And the measures of the queen have penstock_queen_requests_in_flight 0
    And the measures of the worker of tiny have penstock_worker_busy 0
    And the measures of the worker of tiny have penstock_worker_tokens +
    And the measures of the hive have penstock_hive_workers 1

  @MET-5
  Scenario: What was refused is counted
    When Ada chats with other
    Then Ada is refused with 404 MODEL_NOT_FOUND
    And the measures of the queen have penstock_queen_requests_total{model="(unknown)",outcome="MODEL_NOT_FOUND"} +

  @FULL-010 @MET-11 @AUD-7 @ERRS-3
  Scenario: One id joins the logs of queen and worker
    When Ada asks tiny as mill-4711
    Then the answer of Ada carries the id mill-4711
    And the log of the queen has the line inference of mill-4711
    And the log of the worker of tiny has the line inference of mill-4711
    When Cleo chats with tiny
    Then the logs of the queen and of the worker of tiny name the same id for Cleo
    When Ben chats with tiny as mill-4712 for at most 0 ms
    Then Ben is refused with 400 INVALID_REQUEST
    And the log of the queen has the line answered of mill-4712

  @ERRS-3
  Scenario: An answer has an id, though none was asked for
    When DELETE /v1/inference/r-never is asked of the queen
    Then the log of the queen has the id of the answer

  @AUD-4
  Scenario: Logs are lines of JSON
    Then every line of every log is JSON with time, level, speaker and event

  @FULL-008
  Scenario: The queen lists what is below her
    When someone runs penstock workers list
    Then it prints idle
    When someone runs penstock hives list --json
    Then its data has 0.state ready
    And its data has 0.workers 1

  @OPENAPI
  Scenario Outline: <target> says what it answers to
    Then the document of <target> names <text>

    Examples:
      | target             | text                                                          |
      | the queen          | /v1/inference, /v1/chat/completions, /v1/models, /v1/hives    |
      | the hive           | /v1/workers/spawn, /v1/workers/ready, /v1/drain               |
      | the worker of tiny | /v1/inference, /v1/ready, /v1/loading/progress                |
