"""What a bundle's files say, whoever built it: modules by their package, data by its place, each within the roots."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.decisions import capabilities, variables
from gateway.decisions.bundles.manifest import MANIFEST, BundleManifest, within
from gateway.decisions.bundles.signature import SIGNATURES, strict_json
from gateway.decisions.input_fields import check_fields
from gateway.errors import IntegrityError, PermissionDeniedError
from gateway.model import canonical

_COMMENT: Final = re.compile(r"\s*(?:#[^\n]*\n\s*)*")
_PACKAGE: Final = re.compile(
    r'package[ \t]+(?P<path>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*|\["[A-Za-z0-9_-]{1,64}"\])*)[ \t]*(?:#[^\n]*)?(?:\r?\n|\Z)',
    re.ASCII,
)
_STEP: Final = re.compile(r'\.?([A-Za-z_]\w*)|\["([^"]*)"\]', re.ASCII)
_AGAIN: Final = re.compile(r"^[ \t]*package\b", re.MULTILINE)


def package_of(name: str, text: str) -> str:
    """The package of a Rego module as a path, such as tdz/zone/cyberjaya.

    Raises:
        IntegrityError: the module does not begin with a plain package declaration on one line.
    """
    start = _COMMENT.match(text)
    at = start.end() if start is not None else 0
    found = _PACKAGE.match(text, at)
    rest = _COMMENT.match(text, found.end()) if found is not None else None
    if found is None or rest is None or text[rest.end() : rest.end() + 1] in (".", "["):
        raise IntegrityError(f"{name}: the first statement is no package declaration on one line")
    if _AGAIN.search(capabilities.code_of(text), found.end()):
        raise IntegrityError(f"{name}: a module has one package declaration")
    return "/".join(step[1] or step[2] for step in _STEP.finditer(found["path"]))


def files_of(files: Mapping[str, bytes], manifest: BundleManifest, allowed: frozenset[str]) -> dict[str, bytes]:
    """A bundle's modules and data as a policy directory has them.

    `opa build` joins all data in one document and puts modules under the name of the folder they came from. Where a
    file stands does not matter to either engine, so what counts here is the package and the place of the data.

    Args:
        files: contents by path, of a bundle whose signature holds.
        manifest: its manifest.
        allowed: builtins that may be called.

    Raises:
        IntegrityError: a file is of another kind, is not what its name says, or has the place of another.
        PermissionDeniedError: a package or data stands outside of the roots.
        ConfigError: a module calls what is not allowed, asks for a field that no input has, or has a variable that
            never gets a value.
    """
    made: dict[str, bytes] = {}
    modules: dict[str, str] = {}
    for name, content in sorted(files.items()):
        base = name.rsplit("/", 1)[-1]
        if name in (MANIFEST, SIGNATURES):
            continue
        if base == "data.json":
            _place(made, _data(name, content, manifest))
        elif base.endswith(".rego"):
            if base.endswith("_test.rego"):
                raise IntegrityError(
                    f"{name}: tests do not belong into a bundle", remedy="opa build --ignore '*_test.rego'"
                )
            place, text = _module(name, content, manifest)
            modules[place] = text
            _place(made, [(place, content)])
        else:
            raise IntegrityError(f"{name}: a bundle holds .rego, data.json and .manifest, nothing else")
    if not modules and not made:
        raise IntegrityError("the bundle is empty", remedy="put rules or data into it")
    capabilities.check(modules, allowed)
    check_fields(modules)
    variables.check(modules)
    return made


def _module(name: str, content: bytes, manifest: BundleManifest) -> tuple[str, str]:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise IntegrityError(f"{name} is not UTF-8") from error
    package = package_of(name, text)
    if not manifest.owns(package):
        raise _foreign(f"package {package.replace('/', '.')}", name, manifest)
    folder, _, base = name.rpartition("/")
    return (name if folder == package else f"{package}/{base}"), text


def _data(name: str, content: bytes, manifest: BundleManifest) -> Iterator[tuple[str, bytes]]:
    """A data document, cut where the roots begin."""
    folder = name.rpartition("/")[0]
    value = strict_json(content, name)
    if manifest.owns(folder):
        yield name, content
        return
    yield from _cut(folder, value, name, manifest)


def _cut(path: str, value: Any, name: str, manifest: BundleManifest) -> Iterator[tuple[str, bytes]]:
    above = not path or any(within(root, path) for root in manifest.roots)
    if not isinstance(value, dict) or not (above or manifest.owns(path)):
        raise _foreign(f"data at {path or '/'}", name, manifest)
    if manifest.owns(path):
        yield f"{path}/data.json", canonical.encode(value)
        return
    for member, inner in value.items():
        yield from _cut(f"{path}/{member}" if path else member, inner, name, manifest)


def _place(made: dict[str, bytes], files: Iterator[tuple[str, bytes]] | list[tuple[str, bytes]]) -> None:
    for name, content in files:
        if name in made:
            raise IntegrityError(f"two files of the bundle have the place {name}")
        made[name] = content


def _foreign(what: str, name: str, manifest: BundleManifest) -> PermissionDeniedError:
    return PermissionDeniedError(
        f"{name}: {what} lies outside of the bundle's roots {', '.join(manifest.roots)}"[:400],
        remedy="move it below a root that the bundle owns",
    )
