"""The whole configuration, checked: a `Config` exists only when nothing is wrong with it."""

from __future__ import annotations

import os
from typing import Any, Self

from pydantic import ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import ErrorDetails

from relay.config.agreement import clashes
from relay.config.faults import ConfigFaults, Fault, dotted, from_environment, translate
from relay.config.mending import mended, rests_on
from relay.config.structure import Structure

_ROUNDS = 5
"""Mending a section that is missing shows its keys only in the next round."""


class Config(Structure):
    """Everything a node is told."""

    @model_validator(mode="wrap")
    @classmethod
    def _all_at_once(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Every fault at once: what cannot be read is replaced, so that the rest is judged as well. ConfigFaults."""
        found: dict[str, ErrorDetails] = {}
        touched: set[str] = set()
        whole: Self | None = None
        for _ in range(_ROUNDS):
            try:
                whole = handler(data)
                break
            except ValidationError as error:
                errors = error.errors(include_url=False)
                for one in errors:
                    found.setdefault(dotted(one["loc"]), one)
                data, more = mended(data, errors, cls)
                touched |= more
        faults = translate(found.values(), cls, os.environ)
        if whole is not None:
            for clash in clashes(whole):
                if not rests_on(clash.keys, touched):
                    faults.append(
                        Fault(clash.keys[0], clash.problem, from_environment(clash.keys[0], clash.hint, os.environ))
                    )
        if faults or whole is None:
            raise ConfigFaults(sorted(faults, key=_place))
        return whole


def _place(fault: Fault) -> int:
    """In the order of the sections; what is no section comes last."""
    sections = list(Structure.model_fields)
    head = fault.key.partition(".")[0].partition("[")[0]
    return sections.index(head) if head in sections else len(sections)
