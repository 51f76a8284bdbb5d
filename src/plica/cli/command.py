"""How a function becomes a command: its groups of options are spread, its answer is stamped, shown and saved."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

import typer

from plica.cli.ending import finish
from plica.cli.reading import RunOptions, ShowOptions


class Answer(NamedTuple):
    """What a command found, and about what: the header of its result names both."""

    result: Any
    network: Any = None
    data: Any = None


def add(app: typer.Typer, *functions: Callable[..., Answer | None]) -> None:
    """Add commands, named as the functions.

    Parameters
    ----------
    app : typer.Typer
    functions : callables
        Their parameters are options, or groups: dataclasses whose fields are options. ``Annotated[Group,
        {"limit": 10}]`` is a group with another default. An `Answer` is shown and saved as its `RunOptions` or
        `ShowOptions` say; a function that returns None ends by itself.
    """
    for function in functions:
        app.command(function.__name__.replace("_", "-"))(_spread(function))


def _spread(function: Callable[..., Answer | None]) -> Callable[..., None]:
    """The function with the fields of its groups in place of the groups."""
    groups: dict[str, type] = {}
    options: list[inspect.Parameter] = []
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        group, defaults = _group(hints[name])
        if group is None:
            options.append(parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY))
        else:
            groups[name] = group
            options += _options(group, defaults)

    def command(**given: Any) -> None:
        shown = plain(given)
        filled = {
            name: group(**{field.name: given.pop(field.name) for field in dataclasses.fields(group)})
            for name, group in groups.items()
        }
        answer = function(**given, **filled)
        if answer is not None:
            show = next(group for group in filled.values() if isinstance(group, (RunOptions, ShowOptions)))
            hidden = {field.name for field in dataclasses.fields(show)}
            _end(answer, show, {name: value for name, value in shown.items() if name not in hidden})

    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    return command


def _end(answer: Answer, show: RunOptions | ShowOptions, options: dict[str, Any]) -> None:
    """Complete the result's header, show it and leave."""
    from plica.store import stamped

    result = stamped(answer.result, network=answer.network, data=answer.data, options=options)
    finish(result, as_json=show.as_json, out=show.out)


def _group(hint: Any) -> tuple[type | None, dict[str, Any]]:
    """The dataclass of an annotation and its changed defaults; None for an option."""
    base, *notes = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    if not (isinstance(base, type) and dataclasses.is_dataclass(base)):
        return None, {}
    return base, notes[0] if notes else {}


def _options(group: type, defaults: dict[str, Any]) -> list[inspect.Parameter]:
    """The fields of a group as parameters."""
    hints = get_type_hints(group, include_extras=True)
    found = []
    for field in dataclasses.fields(group):
        own = inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
        default, kind = defaults.get(field.name, own), inspect.Parameter.KEYWORD_ONLY
        found.append(inspect.Parameter(field.name, kind, annotation=hints[field.name], default=default))
    return found


def plain(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, as text and numbers for a result's header."""
    return {name: _text(value) for name, value in options.items() if value is not None}


def _text(value: Any) -> Any:
    """Paths as text, also in lists."""
    if isinstance(value, list):
        return [_text(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value
