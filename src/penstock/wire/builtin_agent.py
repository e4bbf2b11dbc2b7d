"""The built-in agent, as the settings want it: the model is called by us, and the key never enters a sandbox."""

from __future__ import annotations

from penstock import ports
from penstock.kernel.agent_loop import LoopLimits, ModelNames
from penstock.kernel.gated_agent import OpenGate
from penstock.kernel.kernel_agent import KernelAgent
from penstock.kernel.model import Model
from penstock.kernel.model_openai import OpenAiModel
from penstock.settings.schema import ModelSettings


def open_builtin_agent(settings: ModelSettings, open_gate: OpenGate) -> ports.Agent:
    """`agent.kind = "kernel"`."""

    def open_model() -> Model:
        return OpenAiModel(settings.base_url, settings.key_env)

    limits = LoopLimits(
        rounds_max=settings.rounds_max,
        tokens_max=settings.tokens_max,
        tool_output_chars_max=settings.tool_output_chars_max,
        refusals_in_a_row_max=settings.refusals_in_a_row_max,
        escalate_after_refusals=settings.escalate_after_refusals,
        storms_max=settings.storms_max,
    )
    return KernelAgent(open_gate, open_model, ModelNames(settings.model, settings.escalation_model), limits)
