Feature: Models
  The catalogue of a machine: what there is, whole and as it was added.

  @PH35-1 @PH35-2 @PH35-4 @CLI-1
  Scenario: A GGUF file is known by its end, and read
    Given a GGUF file tiny
    When someone runs penstock models add tiny --path {root}/tiny.gguf
    Then it exits with 0
    When someone runs penstock models show tiny --json
    Then it exits with 0
    And its data has backend llama
    And its data has gguf.architecture llama
    And its data has gguf.quantisation Q4_K_M
    And its data has gguf.eos 2
    And its data has gguf.vocabulary 5

  @PH35-3
  Scenario Outline: Each quantization is named
    Given a GGUF file tiny quantized as <quantization>
    When someone runs penstock models add tiny --path {root}/tiny.gguf
    And someone runs penstock models show tiny --json
    Then its data has gguf.quantisation <quantization>

    Examples:
      | quantization |
      | Q4_K_M       |
      | Q5_K_M       |
      | Q8_0         |

  @PH3-2
  Scenario: Who pulls a large file sees how far it is
    Given a server that has a file of 60 MB, and breaks off once in its middle
    When someone runs penstock models pull tiny {url}
    Then it exits with 0
    And it says pulling tiny: 50 %
    And it says pulling tiny: 100 %

  @PH3-2 @PH3-4 @CAT-1 @E2E900-3 @FULL-007
  Scenario: A model that is pulled is whole, and in the catalogue
    Given a server that has the file
    When someone runs penstock models pull tiny {url}
    Then it exits with 0
    And the file tiny is whole
    When someone runs penstock models list
    Then it prints tiny

  @PH3-1
  Scenario: A model that is here is not pulled again
    Given a server that has the file
    When someone runs penstock models pull tiny {url}
    And someone runs penstock models pull tiny {url}
    Then it exits with 0
    And it says already
    And the file tiny is whole

  @PH3-3 @EH-008b @F4 @EC2
  Scenario: A download that breaks off goes on where it was
    Given a server that breaks off after 400 bytes, once
    When someone runs penstock models pull tiny {url}
    Then it exits with 0
    And the file tiny is whole
    And the server was asked for the ranges -, 400

  @PH3-3
  Scenario: A download that breaks off always is given up, and no half of it is kept as a model
    Given a server that breaks off after 400 bytes, always
    When someone runs penstock models pull tiny {url}
    Then it exits with 7
    And no file of it is left

  @EH-007a @EH-007b
  Scenario Outline: A server that refuses the file is believed
    Given a server that answers <status> for the file
    When someone runs penstock models pull tiny {url}
    Then it exits with 6
    And it says <code>
    And the server was asked 1 times
    And no file of it is left

    Examples:
      | status | code      |
      | 404    | NOT_FOUND |
      | 403    | FORBIDDEN |

  @EH-008c
  Scenario: A file with another checksum is not kept
    Given a server that has the file
    When someone runs penstock models pull tiny {url} --sha256 0000000000000000000000000000000000000000000000000000000000000000
    Then it exits with 6
    And it says CHECKSUM_MISMATCH
    And no file of it is left

  @INT-011
  Scenario: Of three who pull the same model at once one downloads it
    Given a server that has the file
    When 3 people run penstock models pull tiny {url} at once
    Then all of them exit with 0
    And the server was asked 1 times
    And the file tiny is whole

  @F2 @INT-006
  Scenario: A damaged catalogue is set aside, and a new one is begun
    Given a GGUF file tiny
    When someone runs penstock models add tiny --path {root}/tiny.gguf
    And the catalogue is damaged
    And someone runs penstock models add tiny --path {root}/tiny.gguf
    Then it exits with 0
    And it says models.json.corrupt-1
    And the damaged catalogue is kept as models.json.corrupt-1

  @MODEL-CHANGED
  Scenario: A file that was changed is found out
    Given a GGUF file tiny
    When someone runs penstock models add tiny --path {root}/tiny.gguf
    And someone runs penstock models check
    Then it exits with 0
    When somebody changes the file tiny
    And someone runs penstock models check tiny
    Then it exits with 1
    And it says checksum

  @CAT-2 @QR-3
  Scenario: What can be asked for is listed, loaded or cold
    Given a model tiny that says one
    And a model other that says two
    And a fleet
    And a worker of tiny
    Then the queen says that tiny is loaded
    And the queen says that other is cold
    When GET /v1/models/third is asked of the queen
    Then the answer is 404 MODEL_NOT_FOUND

  @CAT-1
  Scenario: A model that nobody offers is refused at once
    Given a model tiny that says one
    And a fleet
    When Ada chats with other
    Then Ada is refused with 404 MODEL_NOT_FOUND

  @MODEL-LATER
  Scenario: A model that is added while the hive runs can be asked for
    Given a model tiny that says one
    And a fleet
    When a model late that says better late is added
    And the queen offers late
    And Ada asks late
    Then Ada is answered better late
