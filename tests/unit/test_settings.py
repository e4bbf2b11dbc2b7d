"""`penstock.toml`: what is right comes in our units; what is wrong is told all at once, with place and fix."""

import dataclasses
import pathlib as files
from textwrap import dedent

import msgspec
import pytest

from penstock.core.digest import digest_of
from penstock.core.policy import DEFAULT_RETRIES, Limits, Policy
from penstock.documents.document import Path
from penstock.documents.toml import read_toml
from penstock.kernel.agent_loop import LoopLimits
from penstock.ports import BadInput
from penstock.settings.reader import explain, load_settings, needs_agent, needs_key, read_settings
from penstock.settings.schema import ModelSettings, Settings

GATE = '[gates.tests]\ncommand = "make test"\n'


def settings_of(text: str) -> Settings:
    return read_settings(dedent(text).encode())


def told(text: str | bytes) -> str:
    with pytest.raises(BadInput) as bad:
        read_settings(text if isinstance(text, bytes) else dedent(text).lstrip("\n").encode())
    return str(bad.value)


# --- what is right --------------------------------------------------------------------------------------------------


def test_one_gate_is_enough_and_the_rest_is_the_policys_own_default() -> None:
    policy = settings_of(GATE).policy
    plain = msgspec.structs.replace(policy, gates=(), digest="", files=Policy().files)
    assert plain == Policy()
    assert sorted(policy.files.protected) == sorted(Policy().files.protected)
    assert [gate.name for gate in policy.gates] == ["tests"]


def test_every_section_is_taken_in_our_units() -> None:
    settings = settings_of("""
        baseline = "no_new_failures"
        on_dependency_failed = "held"
        stop_waiting = true
        [agent]
        command = ["agent", "--yes", "--yes"]
        wall_s = 60
        stall_s = 2.5
        pass_env = ["API_KEY"]
        [agent.prompt]
        template = \"\"\"
        {title}
        {body}\"\"\"
        [gates.tests]
        command = "make test"
        tier = "slow"
        oracle = "snapshot"
        golden = "golden.txt"
        timeout_s = 1.5
        when = ["src/**"]
        env = "python"
        network = "host"
        resources = ["gpu", "gpu"]
        [env.python]
        setup = "make venv"
        inputs = ["uv.lock"]
        paths = [".venv"]
        scratch = [".venv/cache"]
        network = "host"
        timeout_s = 10
        [resources]
        gpu = 2
        [limits]
        window_start = 1
        window_max = 8
        age_step_s = 5
        [retries.gate_red]
        cap = 1
        backoff_base_s = 0.5
        [budget]
        dollars = 5.25
        agent_minutes = 2
        dollars_per_turn = 0.1
        [budget.ticket]
        tokens = 1000
        [risk]
        high = ["src/pay/**"]
        [protected]
        paths = ["ci/**"]
        [redgreen]
        test_files = ["spec/**"]
        [landing]
        target = "release/2.x"
        mode = "merge"
        follow = true
        [sandbox]
        mode = "none"
        readable = ["/opt/tools", "~/.cargo"]
        agent_network = "host"
        [tickets]
        path = "work/items/"
        [notify]
        command = "mail me"
    """)
    policy, gate, env = settings.policy, settings.policy.gates[0], settings.policy.envs[0]
    assert (policy.baseline, policy.on_dependency_failed, policy.stop_waiting) == ("no_new_failures", "held", True)
    assert (settings.agent.command, settings.agent.pass_env) == (("agent", "--yes", "--yes"), ("API_KEY",))
    assert settings.agent.template == "{title}\n{body}"
    assert (policy.limits.turn_wall_ms_max, policy.limits.turn_stall_ms_max) == (60_000, 2_500)
    assert (gate.tier, gate.oracle, gate.golden, gate.timeout_ms) == ("slow", "snapshot", "golden.txt", 1_500)
    assert (gate.when, gate.env, gate.network, gate.resources) == (("src/**",), "python", "host", ("gpu", "gpu"))
    assert (env.setup, env.inputs, env.paths, env.scratch) == ("make venv", ("uv.lock",), (".venv",), (".venv/cache",))
    assert (env.network, env.timeout_ms, policy.resources) == ("host", 10_000, {"gpu": 2})
    assert (policy.limits.window_start, policy.limits.window_max, policy.limits.age_step_ms) == (1, 8, 5_000)
    assert policy.retries["gate_red"].cap == 1
    assert policy.retries["gate_red"].backoff_base_ms == 500
    assert policy.retries["lost"] == DEFAULT_RETRIES["lost"]
    assert (policy.budget.run.micro_dollars, policy.budget.run.agent_ms) == (5_250_000, 120_000)
    assert (policy.budget.run.tokens, policy.budget.ticket.tokens) == (None, 1_000)
    assert policy.budget.micro_dollars_per_turn == 100_000
    assert policy.risk.high == ("src/pay/**",)
    assert policy.files.protected == ("penstock.toml", "work/items/**", "ci/**")
    assert policy.files.test_files == ("spec/**",)
    assert (policy.landing.target, policy.landing.mode, policy.landing.follow) == ("release/2.x", "merge", True)
    assert settings.sandbox.mode == "none"
    assert settings.sandbox.readable == ("/opt/tools", "~/.cargo")
    assert settings.sandbox.agent_network == "host"
    assert (settings.tickets.source, settings.tickets.path) == ("markdown", "work/items")
    assert settings.notify.command == "mail me"


def test_a_command_line_goes_to_the_shell() -> None:
    assert settings_of(GATE + '[agent]\ncommand = "a | b"').agent.command == ("sh", "-c", "a | b")


def test_digests_cover_every_other_field() -> None:
    policy = settings_of(GATE).policy
    gate = policy.gates[0]
    assert gate.digest == digest_of(msgspec.structs.replace(gate, digest=""))
    assert policy.digest == digest_of(msgspec.structs.replace(policy, digest=""))
    for other in ('command = "make check"', 'command = "make test"\ntier = "slow"'):
        changed = settings_of(f"[gates.tests]\n{other}").policy
        assert changed.gates[0].digest != gate.digest
        assert changed.digest != policy.digest
    moved = settings_of(f"# a comment\n\n{GATE}").policy
    assert moved.digest == policy.digest


def test_every_limit_can_be_set_by_its_name() -> None:
    origins = {key for key, _, _ in explain(settings_of(GATE))}
    for name in Limits.__struct_fields__:
        clock = {"turn_wall_ms_max": "agent.wall_s", "turn_stall_ms_max": "agent.stall_s"}
        assert clock.get(name, f"limits.{name.replace('_ms', '_s')}") in origins


def test_explain_says_where_each_value_came_from() -> None:
    told = {key: (value, where) for key, value, where in explain(settings_of(GATE + "[limits]\nage_step_s = 3"))}
    assert told["gates.tests.command"] == ("make test", "penstock.toml:2")
    assert told["limits.age_step_s"] == (3, "penstock.toml:4")
    assert told["agent.wall_s"] == (1800, "default")
    assert told["retries.gate_red.cap"] == (4, "default")
    assert told["budget.dollars"] == (None, "default")


def test_a_run_needs_somebody_who_works() -> None:
    problem = needs_agent(settings_of(GATE))
    assert problem is not None
    assert str(problem) == (
        "penstock.toml: [agent.command] no agent command: nobody would do the work\n"
        '    fix: write [agent] command = "..." in penstock.toml: it gets the prompt on stdin, in its own clone'
    )
    assert needs_agent(settings_of(GATE + '[agent]\ncommand = "x"')) is None
    assert needs_agent(settings_of(GATE + '[agent]\nkind = "scripted"\nscript = "agent.yaml"')) is None


KERNEL = '[agent]\nkind = "kernel"\n'
ENDPOINT = 'base_url = "http://127.0.0.1:8000/v1"\n'


def test_the_built_in_agent_needs_a_model_and_an_endpoint() -> None:
    problem = needs_agent(settings_of(GATE + KERNEL + ENDPOINT))
    assert str(problem) == (
        'penstock.toml: [agent.model] no model: the built-in agent asks one\n    fix: write [agent] model = "NAME"'
    )
    problem = needs_agent(settings_of(GATE + KERNEL + 'model = "m"\n'))
    assert problem is not None
    assert (problem.field, problem.message) == ("agent.base_url", "no endpoint: nobody would answer for the model")
    assert needs_agent(settings_of(GATE + KERNEL + ENDPOINT + 'model = "m"\n')) is None


def test_the_built_in_agent_needs_the_key_that_it_is_told_to_take() -> None:
    settings = settings_of(GATE + KERNEL + ENDPOINT + 'model = "m"\nkey_env = "MODEL_KEY"\n')
    for environ, state in (({}, "is not set"), ({"MODEL_KEY": " "}, "is empty")):
        problem = needs_key(settings, environ)
        assert problem is not None
        assert (problem.line, problem.field) == (7, "agent.key_env")
        assert problem.message == f"the environment variable MODEL_KEY, which is to hold the model's key, {state}"
        assert "export MODEL_KEY=..." in problem.fix
    assert needs_key(settings, {"MODEL_KEY": "sk-123"}) is None


def test_an_agent_without_a_key_in_the_environment_needs_none() -> None:
    assert needs_key(settings_of(GATE + KERNEL + ENDPOINT + 'model = "m"\n'), {}) is None
    assert needs_key(settings_of(GATE + '[agent]\ncommand = "x"'), {}) is None


FLEET = 'model = "fleet:team/tiny"\n'


@pytest.mark.parametrize("more", ["", 'fleet_url = "http://10.0.0.5:8080/v1"\n', 'escalation_model = "fleet:big"\n'])
def test_a_model_of_the_fleet_needs_no_endpoint(more: str) -> None:
    settings = settings_of(GATE + KERNEL + FLEET + more)
    assert needs_agent(settings) is None
    assert settings.agent.model.model == "fleet:team/tiny"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('model = "fleet:"\n', 'agent.model] "fleet:" names no model'),
        ('model = "fleet:a b"\n', 'agent.model] "fleet:a b" names no model'),
        ('model = "fleet:../x"\n', "agent.model]"),
        (FLEET + ENDPOINT, "agent.base_url] is not for a model of the fleet"),
        (FLEET + 'key_env = "KEY"\n', "agent.key_env] is not for a model of the fleet"),
        (FLEET + 'escalation_model = "big"\n', "agent.escalation_model] is not of the fleet, and the model is"),
        (FLEET + 'fleet_url = "10.0.0.5:8080"\n', "agent.fleet_url]"),
        (FLEET + 'fleet_url = "http://h:1/x"\n', "is no address of a queen"),
        ('model = "m"\nfleet_url = "http://h:1"\n' + ENDPOINT, "agent.fleet_url] is for a model of the fleet"),
        ('model = "m"\nescalation_model = "fleet:x"\n' + ENDPOINT, "agent.escalation_model] is of the fleet"),
    ],
)
def test_a_model_is_of_the_fleet_or_of_an_endpoint_and_what_is_for_the_other_is_refused(text: str, said: str) -> None:
    with pytest.raises(BadInput) as refused:
        settings_of(GATE + KERNEL + text)
    assert said in str(refused.value) and "fix: " in str(refused.value)


def test_the_built_in_agent_is_taken_with_its_limits() -> None:
    text = 'model = "small"\nescalation_model = "large"\nkey_env = "MODEL_KEY"\n'
    numbers = ("rounds_max", "tokens_max", "refusals_in_a_row_max", "escalate_after_refusals", "storms_max")
    limits = "".join(f"{name} = {n}\n" for n, name in enumerate(numbers, 3))
    agent = settings_of(GATE + KERNEL + ENDPOINT + text + limits + "tool_output_chars_max = 500").agent
    assert agent.kind == "kernel"
    assert agent.model == ModelSettings(
        model="small",
        escalation_model="large",
        base_url="http://127.0.0.1:8000/v1",
        key_env="MODEL_KEY",
        rounds_max=3,
        tokens_max=4,
        refusals_in_a_row_max=5,
        escalate_after_refusals=6,
        storms_max=7,
        tool_output_chars_max=500,
    )


def test_a_key_that_was_written_into_the_file_is_not_shown() -> None:
    words = told(GATE + KERNEL + 'key_env = "sk-123"')
    assert "is no name of an environment variable" in words
    assert "sk-123" not in words


def test_limits_of_the_built_in_agent_are_the_loops_own_by_default() -> None:
    loop = LoopLimits()
    names = {field.name for field in dataclasses.fields(LoopLimits)} & set(ModelSettings.__struct_fields__)
    assert len(names) == 6
    assert {name: getattr(ModelSettings(), name) for name in names} == {name: getattr(loop, name) for name in names}


def test_settings_are_read_only() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings_of(GATE).file = "other"  # type: ignore[misc]


# --- what is wrong --------------------------------------------------------------------------------------------------


def test_everything_wrong_is_told_at_once_in_order() -> None:
    assert (
        told("""
        baselin = "must_pass"
        [agent]
        command = 3
        [gates.tests]
        comand = "pytest"
        timeout_s = "long"
        env = "pyton"
        resources = ["gpu", "gpu", "tpu"]
        [gates."a b"]
        command = "x\\u0007"
        when = ["../x", 3]
        tier = "quick"
        [env.python]
        setup = "x"
        paths = [".venv"]
        scratch = ["cache"]
        [resources]
        gpu = 1
        [limits]
        window_max = 99999999999999
        turn_wall_s_max = 3
        [retries.gate_redd]
        cap = 2
        [budget.ticket]
        dolars = 3
        [landing]
        target = "a..b"
    """)
        == """\
penstock.toml:1: [baselin] unknown key "baselin"
    fix: did you mean baseline?
penstock.toml:3: [agent.command] must be text or a list, not a whole number
    fix: write command = "..."
penstock.toml:4: [gates.tests.command] is missing
    fix: write command = "..."
penstock.toml:5: [gates.tests.comand] unknown key "comand"
    fix: did you mean command?
penstock.toml:6: [gates.tests.timeout_s] must be a number, not text
    fix: choose 0.1 to 604,800
penstock.toml:7: [gates.tests.env] there is no environment "pyton"
    fix: did you mean python?
penstock.toml:8: [gates.tests.resources[2]] there is no resource "tpu"
    fix: did you mean gpu?
penstock.toml:8: [gates.tests.resources] wants 2 of "gpu"; there are 1
    fix: raise [resources] gpu, or want fewer
penstock.toml:9: [gates.a b] "a b" is no name for a gate
    fix: use 1 to 64 of A-Z a-z 0-9 . _ - and begin with a letter or digit
penstock.toml:10: [gates.a b.command] contains the control character U+0007
    fix: remove it
penstock.toml:11: [gates.a b.when[0]] "../x" leaves the repository
    fix: write it relative to the repository: "src/**"
penstock.toml:11: [gates.a b.when[1]] must be text, not a whole number
    fix: put it in quotes
penstock.toml:12: [gates.a b.tier] cannot be "quick"
    fix: known here: fast, medium, slow, formal
penstock.toml:16: [env.python.scratch[0]] "cache" is inside none of paths
    fix: scratch holds directories inside paths
penstock.toml:20: [limits.window_max] is 99999999999999, which is out of range
    fix: choose 1 to 1,000,000,000
penstock.toml:21: [limits.turn_wall_s_max] unknown key "turn_wall_s_max"
    fix: write it as `wall_s` in [agent]
penstock.toml:22: [retries.gate_redd] unknown key "gate_redd"
    fix: did you mean gate_red?
penstock.toml:25: [budget.ticket.dolars] unknown key "dolars"
    fix: did you mean dollars?
penstock.toml:27: [landing.target] "a..b" is no branch name
    fix: write the short name: target = "main\""""
    )


@pytest.mark.parametrize("text", ["", "[gates]\n", "[agent]\nwall_s = 3\n"])
def test_no_gate_is_an_error(text: str) -> None:
    assert "[gates] no gate: nothing can be proven\n    fix: write [gates.tests]" in told(text)


@pytest.mark.parametrize(
    ("text", "place", "complaint"),
    [
        ("gates = 3", "1", "must be a table, not a whole number"),
        ("gates.x = 3", "1", "must be a table, not a whole number"),
        (GATE + "env = 3", "3", "must be text, not a whole number"),
        (GATE + "timeout_s = nan", "3", "must be a number, not nan"),
        (GATE + "timeout_s = 0", "3", "is 0, which is out of range"),
        (GATE + "timeout_s = true", "3", "must be a number, not true or false"),
        (GATE + "timeout_s = 2024-01-01", "3", "must be a number, not a date or time"),
        (GATE + 'when = "src"', "3", "must be a list, not text"),
        (GATE + 'when = ["a", "a"]', "3", '"a" is there twice'),
        (GATE + 'golden = "x"', "3", "is read by no assertion gate"),
        (GATE + 'oracle = "snapshot"', "1", "is missing: a snapshot is compared with it"),
        ('[gates.x]\ncommand = " "', "2", "is empty"),
        (GATE + "[limits]\nattempts_per_ticket_max = 0", "4", "is 0, which is out of range"),
        (GATE + "[limits]\nattempts_per_ticket_max = 1.5", "4", "must be a whole number, not a number"),
        (GATE + "[limits]\nwindow_start = 9", "4", "is 9, above window_max, which is 4"),
        (GATE + "[retries.lost]\nbackoff_base_s = 99", "4", "is above backoff_max_s"),
        (GATE + "[risk]\nboundary_lines_min = 9999", "4", "is above high_lines_min"),
        (GATE + "[budget]\ndollars = -1", "4", "is -1, which is out of range"),
        (GATE + '[agent]\nkind = "scripted"', "3", "is missing: a scripted agent follows it"),
        (GATE + '[agent]\nmodel = "m"', "4", "is read by the built-in agent alone"),
        (GATE + KERNEL + "modell = 1", "5", 'unknown key "modell"'),
        (GATE + KERNEL + "rounds_max = 0", "5", "is 0, which is out of range"),
        (GATE + KERNEL + 'key_env = "sk-123"', "5", "is no name of an environment variable"),
        (GATE + KERNEL + 'base_url = "127.0.0.1:80"', "5", "is no base URL"),
        (GATE + KERNEL + 'base_url = "https://me:pw@host/v1"', "5", "is no base URL"),
        (GATE + KERNEL + 'base_url = "https://host/v1?key=1"', "5", "is no base URL"),
        (GATE + '[agent]\npass_env = ["A=1"]', "4", '"A=1" is no name of an environment variable'),
        (GATE + '[sandbox]\nreadable = ["x"]', "4", '"x" is no absolute path'),
        (GATE + "[landing]\nfollow = 1", "4", "must be true or false, not a whole number"),
        (GATE + '[tickets]\nsource = "plan"', "3", "is missing"),
        (GATE + "[env.x]\nsetup = 'y'", "3", "is missing: what does setup make?"),
        (GATE + "[resources]\ngpu = 0", "4", "is 0, which is out of range"),
        (GATE + "[components]\n", "3", 'unknown key "components"'),
    ],
)
def test_a_wrong_value_is_told_with_its_line(text: str, place: str, complaint: str) -> None:
    lines = told(text).splitlines()
    assert any(line.startswith(f"penstock.toml:{place}: ") and complaint in line for line in lines), lines


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"a = [\n\n", "penstock.toml:3: is not TOML: Invalid value"),
        (b"x = 1\nx = 2\n", "penstock.toml:2: is not TOML: Cannot overwrite a value"),
        (b"[a]\n[a]\n", "penstock.toml:2: is not TOML: Cannot declare ('a',) twice"),
        (b"x = 1\ny = '\xff'\n", "penstock.toml:2: is not UTF-8 text"),
        (b"#" * 300_000, "penstock.toml: is 262,145 bytes or more; at most 262,144 are read"),
        (b"a = " + b"[" * 50_000, "penstock.toml: is nested too deep"),
        (b"a = 1" + b"0" * 5_000, "penstock.toml: is not TOML: a number is absurdly long"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(data: bytes, complaint: str) -> None:
    assert told(data[: 256 * 1024 + 1]).startswith(complaint)


def test_a_missing_file_names_init(tmp_path: files.Path) -> None:

    with pytest.raises(BadInput, match="does not exist\n    fix: let `penstock init` write it"):
        load_settings(tmp_path / "penstock.toml")


# --- lines of TOML --------------------------------------------------------------------------------------------------

TOML = '''\
top = 1  # [not.a.table]
dotted.key."quoted.key" = """
[not.a.table]
x = 1 \\"""
"""
literal = \'\'\'
# x = 1
\'\'\'
[table]
list = [
  1,
  [2, 3], # ]
  { a = 1, b.c = "}" },
]
"after" = "a\\"]"
[[many]]
name = 'one'
[many.inner]
deep = 1
[[many]]
name = "two"
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("top",), 1),
        (("dotted",), 2),
        (("dotted", "key", "quoted.key"), 2),
        (("literal",), 6),
        (("table",), 9),
        (("table", "list"), 10),
        (("table", "list", 0), 11),
        (("table", "list", 1), 12),
        (("table", "list", 1, 1), 12),
        (("table", "list", 2, "a"), 13),
        (("table", "list", 2, "b", "c"), 13),
        (("table", "after"), 15),
        (("many",), 16),
        (("many", 0, "name"), 17),
        (("many", 0, "inner", "deep"), 19),
        (("many", 1), 20),
        (("many", 1, "name"), 21),
        (("many", 1, "nothing here"), 20),
    ],
)
def test_each_key_has_its_line(path: Path, line: int) -> None:
    assert read_toml(TOML, "x").line_of(path) == line
