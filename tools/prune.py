"""Find out what the deployed app needs of its dependencies, by reading the code.

msgraph-sdk has more than sixteen thousand modules. Each request builder imports its neighbours where a property needs
them, so that following every import statement reaches all of the SDK. `reachable_sdk` therefore follows the import
statements of the functions that can run. A function of the SDK can run if its name is read as an attribute, by an app
module that imports the SDK or by a function of the SDK that can run. Names are compared without types: a name that
several classes share keeps the modules of all of them. An unrelated `.get` makes the package larger, not incomplete.

The SDK's framework (kiota) calls methods of the SDK's models: the serializer of a request, and the deserializers of a
response. The deserializers import 1,200 modules. They can run only if a response is read into a model, and Mailroom
reads responses as JSON (docs/adr/0002-no-sdk-models.md). `_Framework.reads_responses` returns whether that has changed.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SDK = "msgraph"
FRAMEWORK = ("kiota_", "msgraph_core")
"""Beginnings of the names of the packages on which the SDK is built."""

SERIALIZER = "serialize"
DESERIALIZERS = ("get_field_deserializers", "create_from_discriminator_value")

ASYNC_CLIENTS = "aio"
"""The name of the packages in which the Azure SDK has its asynchronous clients."""

ASYNC_TRANSPORT = "aiohttp"
"""The distribution that only the asynchronous clients of the Azure SDK use."""

NOT_RUN = {".pyi", ".pyx", ".pxd", ".c", ".h"}
"""Suffixes of files that Python does not read at run time: type stubs and sources of compiled modules."""

_Function = ast.FunctionDef | ast.AsyncFunctionDef


class UnknownModule(Exception):
    """The SDK imports a module that it does not have: its structure is not the one that this module understands."""


class App:
    """The modules of the deployed app.

    Args:
        root: the app's folder.
        files: its Python files, relative to `root`.
    """

    def __init__(self, root: Path, files: Iterable[Path]) -> None:
        self.trees = {path: ast.parse((root / path).read_bytes()) for path in files}

    def imports(self) -> set[str]:
        """Return the modules that the app imports, those of functions included."""
        return {name for path in self.trees for name in self.imports_of(path)}

    def imported_modules(self) -> set[str]:
        """Return the modules that the app imports, without the names that it imports from them."""
        return {
            module
            for path, tree in self.trees.items()
            for node in ast.walk(tree)
            for _, module in _imported(node, ".".join(path.parent.parts))
        }

    def imports_of(self, path: Path) -> set[str]:
        """Return the modules that one file imports, those of functions included."""
        package = ".".join(path.parent.parts)
        return {name for node in ast.walk(self.trees[path]) for name, _ in _imported(node, package)}

    def sdk_files(self) -> list[Path]:
        """Return the files that import the SDK or its framework, and thus decide which functions of the SDK can run."""
        return [
            path
            for path in self.trees
            if any(_is_sdk(name) or name.startswith(FRAMEWORK) for name in self.imports_of(path))
        ]


class SitePackages:
    """A folder with installed packages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, module: str) -> Path | None:
        """Return a module's file, the folder of a package without `__init__.py`, or None."""
        place = self.folder.joinpath(*module.split("."))
        for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if file.is_file():
                return file
        return place if place.is_dir() else None

    def with_parents(self, module: str) -> Iterator[tuple[str, Path]]:
        """Yield a module and the packages that contain it, each with its file."""
        parts = module.split(".")
        for count in range(1, len(parts) + 1):
            name = ".".join(parts[:count])
            file = self.find(name)
            if file is None:
                return
            if file.is_file():
                yield name, file


def _body(file: Path) -> Sequence[ast.stmt]:
    return ast.parse(file.read_bytes()).body


def reachable_sdk(app: App, site: SitePackages) -> set[Path]:
    """Return the SDK's files that the app can import, relative to the folder of `site`.

    Raises:
        UnknownModule: the SDK imports a module that it does not have.
    """
    return _Reach(app, site).files()


class _Framework:
    """Recognizes code that reads responses into models.

    Attributes:
        readers: methods of the framework that do so, and classes that call them.
    """

    def __init__(self, site: SitePackages) -> None:
        adapter = site.folder / "kiota_abstractions/request_adapter.py"
        node = site.folder / "kiota_abstractions/serialization/parse_node.py"
        methods = {name for name in _methods(adapter, "RequestAdapter") if name.startswith("send")}
        methods |= {name for name in _methods(node, "ParseNode") if "object" in name}
        if not methods:
            raise UnknownModule(f"{adapter} and {node} declare no method that reads a response")
        classes = {
            statement.name
            for package in sorted(site.folder.iterdir())
            if package.name.startswith(FRAMEWORK) and package.suffix != ".dist-info"
            for file in package.rglob("*.py")
            for statement in _body(file)
            if isinstance(statement, ast.ClassDef) and not methods.isdisjoint(_attributes([statement]))
        }
        self.readers = methods | classes

    def reads_responses(self, names: Iterable[str]) -> bool:
        """Return whether code that uses these names reads a response into a model."""
        return not self.readers.isdisjoint(names)


class _Reach:
    """The functions and modules of the SDK that can run. Names without a function yet wait for one, and vice versa."""

    def __init__(self, app: App, site: SitePackages) -> None:
        self._site = site
        self._framework = _Framework(site)
        self._files: dict[str, Path] = {}
        self._names = {SERIALIZER}
        self._waiting: dict[str, list[tuple[Sequence[ast.stmt], str]]] = defaultdict(list)
        self._modules: list[str] = []
        self._bodies: list[tuple[Sequence[ast.stmt], str]] = []
        for path in app.sdk_files():
            imports = app.imports_of(path)
            self._modules += sorted(name for name in imports if _is_sdk(name))
            for name in (*_attributes([app.trees[path]]), *(name.rpartition(".")[2] for name in imports)):
                self._use(name)

    def files(self) -> set[Path]:
        while self._modules or self._bodies:
            if self._modules:
                self._load(self._modules.pop())
            else:
                self._read(*self._bodies.pop())
        return {file.relative_to(self._site.folder) for file in self._files.values()}

    def _load(self, module: str) -> None:
        for name, file in self._site.with_parents(module):
            if name not in self._files:
                self._files[name] = file
                self._read(_body(file), name if file.name == "__init__.py" else name.rpartition(".")[0])

    def _read(self, statements: Sequence[ast.stmt], package: str) -> None:
        """Follow code that runs: a module's statements, or the body of a function that can run."""
        for node in _running(statements):
            if isinstance(node, _Function):
                body = (node.body, package)
                if node.name in self._names or (node.name.startswith("__") and node.name.endswith("__")):
                    self._bodies.append(body)
                else:
                    self._waiting[node.name].append(body)
            elif isinstance(node, ast.Attribute):
                self._use(node.attr)
            for name, imported_from in _imported(node, package):
                if _is_sdk(name):
                    if self._site.find(imported_from) is None:
                        raise UnknownModule(f"{package} imports {imported_from}, which is not installed")
                    self._modules.append(name)

    def _use(self, name: str) -> None:
        if name in self._names:
            return
        self._names.add(name)
        self._bodies += self._waiting.pop(name, [])
        if self._framework.reads_responses([name]):
            for deserializer in DESERIALIZERS:
                self._use(deserializer)


def imported_at_start(app: App, site: SitePackages, roots: Iterable[str]) -> set[Path]:
    """Return the files that run when all modules of the app and `roots` are imported, relative to the folder of `site`.

    These are the statements outside functions. Modules that are imported by a computed name are not among them.
    """
    files: dict[str, Path] = {}
    modules = sorted(app.imports()) + sorted(roots)
    seen = set(modules)
    while modules:
        for name, file in site.with_parents(modules.pop()):
            if name in files:
                continue
            files[name] = file
            package = name if file.name == "__init__.py" else name.rpartition(".")[0]
            imported = {module for node in _running(_body(file)) for module, _ in _imported(node, package)} - seen
            seen |= imported
            modules += sorted(imported)
    return {file.relative_to(site.folder) for file in files.values()}


def needed_distributions(
    app: App, site: SitePackages, required: Iterable[str], environment: Mapping[str, str]
) -> set[str]:
    """Return the names of the distributions that the app needs.

    These are the required distributions and all that they require in turn. `ASYNC_TRANSPORT`, and what only it
    requires, is omitted unless the app imports an asynchronous client.

    Args:
        app: the app.
        site: the installed packages.
        required: the app's own requirements.
        environment: values of environment markers (PEP 508) where the app runs.
    """
    installed = {canonicalize_name(found.metadata["Name"]): found for found in installed_distributions(site)}
    asynchronous = uses_async_clients(app)
    needed: set[tuple[str, str]] = set()
    waiting = _applying(required, environment)
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name == ASYNC_TRANSPORT and not asynchronous:
            continue
        for extra in ("", *requirement.extras):
            if (name, extra) not in needed and name in installed:
                needed.add((name, extra))
                waiting += _applying(installed[name].requires or [], {**environment, "extra": extra})
    return {name for name, _ in needed}


def uses_async_clients(app: App) -> bool:
    """Return whether the app imports an asynchronous client of the Azure SDK, or their transport."""
    return any(ASYNC_CLIENTS in name.split(".") or ASYNC_TRANSPORT in name.lower() for name in app.imports())


def _applying(lines: Iterable[str], environment: Mapping[str, str]) -> list[Requirement]:
    """Return the requirements whose markers hold in an environment."""
    requirements = [Requirement(line) for line in lines]
    return [found for found in requirements if found.marker is None or found.marker.evaluate(dict(environment))]


def installed_distributions(site: SitePackages) -> Iterator[Distribution]:
    """Yield the distributions in a folder."""
    return iter(distributions(path=[str(site.folder)]))


def _is_sdk(module: str) -> bool:
    return module.partition(".")[0] == SDK


def _imported(node: ast.AST, package: str) -> Iterator[tuple[str, str]]:
    """Yield the names that an import statement may import as modules, each with the module that must exist."""
    if isinstance(node, ast.Import):
        yield from ((alias.name, alias.name) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        module = ".".join([*parents, *([node.module] if node.module else [])])
        yield module, module
        yield from ((f"{module}.{alias.name}", module) for alias in node.names)


def _running(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yield the nodes that run with `nodes`: not what is in functions, nor what only a type checker reads."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, _Function):
            waiting += [*node.decorator_list, *node.args.defaults]
            waiting += [default for default in node.args.kw_defaults if default is not None]
        elif isinstance(node, ast.If) and _attribute_or_name(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)


def _attribute_or_name(node: ast.expr) -> str | None:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None


def _attributes(nodes: Iterable[ast.AST]) -> set[str]:
    return {inner.attr for node in nodes for inner in ast.walk(node) if isinstance(inner, ast.Attribute)}


def _methods(file: Path, class_name: str) -> set[str]:
    return {
        method.name
        for statement in _body(file)
        if isinstance(statement, ast.ClassDef) and statement.name == class_name
        for method in statement.body
        if isinstance(method, _Function)
    }
