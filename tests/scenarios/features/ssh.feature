Feature: Machines behind SSH
  A hive is started there by the system's OpenSSH; what does not answer is not saved.

  Background:
    Given the fleet has a token
    And a machine that SSH reaches
    And a queen

  @REG-1 @SSH-1 @SSH-4 @SSH-6 @INS-4 @LC-5
  Scenario: A machine is added, and its hive goes on without the session
    When the machine is added as far
    Then it exits with 0
    And it prints hive far at http://
    And the queen lists the hive far as ready
    And no process of the machine was told the token as an argument
    When someone runs penstock hives remove far --drain
    Then it exits with 0
    And the queen lists no hive far
    And nothing runs on the machine

  @EH-001b @SSH-3
  Scenario: A key that does not let in saves nothing
    When the machine is added as far with another key
    Then it exits with 7
    And it says ssh: authentication
    And it says fix:
    And the queen lists no hive far
    And nothing runs on the machine

  @EH-001c @SSH-6
  Scenario: A machine without Penstock saves nothing
    When the machine is added as far with a command that is not there
    Then it exits with 7
    And it says pipx install penstock
    And the queen lists no hive far
    And nothing runs on the machine
