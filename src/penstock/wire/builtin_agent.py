"""The built-in agent, as the settings want it: the model is called by us, and the key never enters a sandbox."""

from __future__ import annotations

from penstock import ports
from penstock.kernel.agent_loop import LoopLimits, ModelNames
from penstock.kernel.gated_agent import OpenGate
from penstock.kernel.kernel_agent import KernelAgent
from penstock.kernel.model import Model
from penstock.kernel.model_openai import OpenAiModel
from penstock.settings.reader import FLEET
from penstock.settings.schema import ModelSettings


def open_builtin_agent(settings: ModelSettings, open_gate: OpenGate) -> ports.Agent:
    """`agent.kind = "kernel"`."""

    is_of_fleet = settings.model.startswith(FLEET)

    def open_model() -> Model:
        if is_of_fleet:
            from penstock.wire.fleet_model import open_fleet_model

            return open_fleet_model(settings)
        return OpenAiModel(settings.base_url, settings.key_env)

    limits = LoopLimits(
        rounds_max=settings.rounds_max,
        tokens_max=settings.tokens_max,
        tool_output_chars_max=settings.tool_output_chars_max,
        refusals_in_a_row_max=settings.refusals_in_a_row_max,
        escalate_after_refusals=settings.escalate_after_refusals,
        storms_max=settings.storms_max,
    )
    names = ModelNames(settings.model.removeprefix(FLEET), settings.escalation_model.removeprefix(FLEET))
    return KernelAgent(open_gate, open_model, names, limits)
