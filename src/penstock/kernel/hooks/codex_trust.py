"""Whether Codex will run our hooks: it keeps a digest of each hook that its user has trusted, and skips the others."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path


def problems_of_codex(hooks_file: object, path: Path, config: Path, top: Path) -> Iterator[str]:
    """Why Codex would leave our hooks out. The digests are those that its `hooks/list` gives (0.171.0)."""
    settings = _settings(config)
    if settings is None:
        yield f"{config} is not TOML"
        return
    features = _table(settings, "features")
    if features.get("hooks") is False or features.get("codex_hooks") is False:
        yield f"{config}: [features] hooks = false"
    if path.is_relative_to(top) and _table(_table(settings, "projects"), str(top)).get("trust_level") != "trusted":
        yield f"this project is not trusted, so its {path.relative_to(top)} is left out; start codex here and trust it"
    states = _table(_table(settings, "hooks"), "state")
    wrong = [event for event, key, digest in _hooks(hooks_file, path) if not _is_trusted(states.get(key), digest)]
    if wrong:
        yield f"not trusted, so left out: {', '.join(dict.fromkeys(wrong))}; start codex and open /hooks"


def digest_of(event: str, matcher: object, handler: Mapping[str, object]) -> str:
    """What Codex identifies a hook by."""
    timeout = handler.get("timeout", 600)
    kept = {"type": "command", "command": handler.get("command"), "timeout": timeout, "async": False}
    identity: dict[str, object] = {"event_name": _snake(event), "hooks": [kept]}
    if isinstance(matcher, str) and event != "Stop":
        identity["matcher"] = matcher
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _hooks(hooks_file: object, path: Path) -> Iterator[tuple[str, str, str]]:
    hooks = hooks_file.get("hooks") if isinstance(hooks_file, dict) else None
    for event, groups in hooks.items() if isinstance(hooks, dict) else ():
        for n, group in enumerate(groups):
            for m, handler in enumerate(group["hooks"]):
                if "penstock/kernel/hooks/hook_client.py" in str(handler.get("command")):
                    key = f"{path}:{_snake(event)}:{n}:{m}"
                    yield event, key, digest_of(event, group.get("matcher"), handler)


def _is_trusted(state: object, digest: str) -> bool:
    return isinstance(state, dict) and state.get("trusted_hash") == digest and state.get("enabled") is not False


def _settings(config: Path) -> Mapping[str, object] | None:
    try:
        return tomllib.loads(config.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        return None


def _table(settings: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = settings.get(key)
    return value if isinstance(value, dict) else {}


def _snake(event: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", event).lower()
