# SPDX-License-Identifier: GPL-3.0-or-later
"""What is stated twice in the project is the same twice."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
PLUGINS = sorted(path for path in (ROOT / "plugins").rglob("*.py") if path.name != "__init__.py")
MODULES = sorted((ROOT / "plugins" / "modules").glob("*.py"))
ACTIONS = sorted((ROOT / "plugins" / "action").glob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def load(path: str | Path) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def tracked() -> list[Path]:
    """The files that git knows. Outside of a git checkout there is nothing to look at."""
    asked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in asked.stdout.split("\0") if name and (ROOT / name).is_file() and not (ROOT / name).is_symlink()]


def importable(path: Path) -> Any:
    dotted = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    return importlib.import_module(f"ansible_collections.kjoule.bench.{dotted}")


# requirements and version


def test_the_collections_of_galaxy_yml_and_requirements_yml_are_the_same():
    galaxy = load("galaxy.yml")["dependencies"]
    assert {entry["name"]: entry["version"] for entry in load("requirements.yml")["collections"]} == galaxy


def test_the_package_ansible_brings_every_collection_that_is_needed():
    for name in load("galaxy.yml")["dependencies"]:
        module = importlib.import_module(f"ansible_collections.{name}")
        assert any((Path(folder) / "MANIFEST.json").is_file() for folder in module.__path__), name


@pytest.mark.parametrize(
    ("wanted", "locked"), [("requirements.txt", "requirements.lock"), ("requirements-dev.in", "requirements-dev.lock")]
)
def test_everything_required_is_locked_with_a_hash(wanted, locked):
    names = re.findall(r"^([A-Za-z0-9_.-]+?)(?:[><=!~ ].*)?$", (ROOT / wanted).read_text(), re.MULTILINE)
    text = (ROOT / locked).read_text().lower()
    assert names
    for name in names:
        if not name.startswith("-"):
            assert re.search(rf"^{re.escape(name.lower())}==\S+[^\n]*\\\n +--hash=sha256:", text, re.MULTILINE), (
                f"{name} is not in {locked}: make lock"
            )


def locked_versions(lock: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^(\S+)==(\S+)", (ROOT / lock).read_text(), re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


def test_the_test_tools_change_nothing_that_a_user_has():
    users = locked_versions("requirements.lock")
    tests = locked_versions("requirements-dev.lock")
    assert {name for name in users.keys() & tests.keys() if not tests[name] <= users[name]} == set()


def test_the_lock_covers_both_lines_of_ansible_core():
    text = (ROOT / "requirements.lock").read_text()
    assert len(re.findall(r"^ansible-core==", text, re.MULTILINE)) == 2


def test_the_version_is_stated_once():
    version = load("galaxy.yml")["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert version in load("changelogs/changelog.yaml")["releases"]
    stated = re.compile(rf"""^\s*(__version__|VERSION|TOOL_VERSION)\b[^\n]*["']{re.escape(version)}["']""", re.MULTILINE)
    assert [name_of(path) for path in PLUGINS if stated.search(path.read_text(encoding="utf-8"))] == []


def test_the_oldest_supported_core_is_the_one_that_is_tested():
    assert load("meta/runtime.yml")["requires_ansible"] == ">=2.19.0"


# roles


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
class TestRole:
    def test_has_a_readme_a_specification_and_metadata(self, role):
        for needed in ("README.md", "meta/argument_specs.yml", "meta/main.yml", "defaults/main.yml"):
            assert (role / needed).is_file(), f"{role.name} has no {needed}"

    def test_specifies_every_variable_that_has_a_default(self, role):
        specs = load(role / "meta" / "argument_specs.yml")["argument_specs"]
        specified = {option for spec in specs.values() for option in spec.get("options", {})}
        defaults = set(load(role / "defaults" / "main.yml") or {})
        assert defaults - specified == set()
        required = {option for spec in specs.values() for option, about in spec.get("options", {}).items() if about.get("required")}
        assert specified - defaults - required == set(), "an optional variable shows its default in defaults/main.yml"

    def test_prefixes_its_variables(self, role):
        for option in load(role / "defaults" / "main.yml") or {}:
            assert option.startswith(f"{role.name}_")

    def test_every_entry_point_is_described(self, role):
        for name, spec in load(role / "meta" / "argument_specs.yml")["argument_specs"].items():
            assert spec.get("short_description"), name
            assert spec.get("description"), name
            assert all(isinstance(line, str) for line in spec["description"]), f"{name}: a colon makes a dictionary of a sentence"
            for option, about in spec.get("options", {}).items():
                assert about.get("description"), option
                assert about.get("type"), option

    def test_is_in_the_playbooks_only_under_its_full_name(self, role):
        for playbook in (ROOT / "playbooks").glob("*.yml"):
            assert not re.search(rf"role: {role.name}\b", playbook.read_text())


def test_every_variable_of_the_inventory_is_explained_and_known():
    """group_vars names what the roles and playbooks read, no more and no less."""
    explained = set(re.findall(r"^# (kjoule_\w+):", (ROOT / "inventories/local/group_vars/all.yml").read_text(), re.MULTILINE))
    read: set[str] = set()
    for folder in ("playbooks", "roles"):
        for path in (ROOT / folder).rglob("*.yml"):
            if path.name != "argument_specs.yml":
                text = re.sub(r"^ *#.*", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
                read |= set(re.findall(r"(?<![\w.'])(kjoule_\w+)", text))
    assert explained == read
    assert {f"kjoule_{name}" for name in load("plugins/plugin_utils/data/settings.yml")} == read, "plugins/plugin_utils/data/settings.yml"


# modules and plugins


@pytest.mark.parametrize("path", MODULES, ids=name_of)
class TestModule:
    def test_its_documentation_can_be_read(self, path):
        module = importable(path)
        documentation = yaml.safe_load(module.DOCUMENTATION)
        assert documentation["module"] == path.stem
        assert documentation["short_description"]
        assert isinstance(yaml.safe_load(module.EXAMPLES), list)
        assert isinstance(yaml.safe_load(module.RETURN) or {}, dict)

    def test_its_examples_use_the_full_name(self, path):
        assert any(f"kjoule.bench.{path.stem}" in task for task in yaml.safe_load(importable(path).EXAMPLES))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_ansible_can_show_the_module_and_documents_its_whole_argument_spec(path):
    documented = documented_options(path)
    source = path.read_text(encoding="utf-8")
    if "AnsibleModule(" not in source:  # the documentation of an action, which has no code of its own here
        assert path.stem in {action.stem for action in ACTIONS}
        return
    spec = captured_spec(importable(path))
    assert set(spec) == set(documented)
    for name, about in spec.items():
        shown = documented[name]
        assert about.get("type", "str") == shown.get("type", "str"), f"type of {name}"
        assert about.get("required", False) == shown.get("required", False), f"required of {name}"
        assert about.get("default") == shown.get("default"), f"default of {name}"
        assert about.get("choices") == shown.get("choices"), f"choices of {name}"


def documented_options(path: Path) -> dict[str, Any]:
    """The options, those of doc fragments included."""
    documentation = yaml.safe_load(importable(path).DOCUMENTATION)
    options: dict[str, Any] = {}
    fragments = documentation.get("extends_documentation_fragment", [])
    for fragment in [fragments] if isinstance(fragments, str) else fragments:
        parts = fragment.split(".")
        if parts[:2] != ["kjoule", "bench"]:
            continue
        module = importlib.import_module(f"ansible_collections.kjoule.bench.plugins.doc_fragments.{parts[2]}")
        text = getattr(module.ModuleDocFragment, (parts[3] if len(parts) > 3 else "documentation").upper())
        options.update(yaml.safe_load(text).get("options", {}))
    options.update(documentation.get("options") or {})
    return options


class _Seen(Exception):
    """Carries the argument spec out of a module that was only asked for it."""


def captured_spec(module: Any) -> dict[str, Any]:
    def instead(*args: Any, **kwargs: Any) -> None:
        raise _Seen(kwargs.get("argument_spec", args[0] if args else {}))

    original = module.AnsibleModule
    module.AnsibleModule = instead
    try:
        module.main()
    except _Seen as seen:
        return seen.args[0]
    finally:
        module.AnsibleModule = original
    raise AssertionError(f"{module.__name__}.main() made no AnsibleModule")


@pytest.mark.parametrize("path", ACTIONS, ids=name_of)
def test_every_action_has_the_documentation_of_a_module(path):
    assert (ROOT / "plugins" / "modules" / path.name).is_file()


def test_the_module_plan_documents_every_setting_of_a_plan_and_the_profiles_as_they_are():
    from ansible_collections.kjoule.bench.plugins.plugin_utils.options import LABS, OPTIONS

    documented = documented_options(ROOT / "plugins/modules/plan.py")
    # The callers' own: which hosts, where, and which run.
    assert set(OPTIONS) == set(documented) - {"hosts", "reports_dir", "run_id"}
    assert documented["lab"]["choices"] == list(LABS)
    told = " ".join(documented["profile"]["description"])
    for name, profile in load("plugins/plugin_utils/data/profiles.yml").items():
        sizes = f"{profile['blocks']} blocks, {profile['apps']} apps, an interval of {profile['interval_seconds']} s"
        assert f"V({name}) is {sizes} and a baseline of {profile['baseline_seconds']} s" in told


#: What a plugin can use where it is there: only for a cluster, whose tasks need the collection kubernetes.core and with it this package.
USED_IF_THERE = {"plugins/modules/kepler_check.py": ("kubernetes",)}


@pytest.mark.parametrize("path", [path for path in PLUGINS if "module_utils" in path.parts or "modules" in path.parts], ids=name_of)
def test_what_runs_on_a_host_needs_nothing_but_python(path):
    """Standard library, Ansible's module_utils and our own."""
    import ast

    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        for name in names:
            allowed = name.split(".")[0] in (*sys.stdlib_module_names, *USED_IF_THERE.get(name_of(path), ())) or name.startswith(
                ("ansible.module_utils", "ansible_collections.kjoule.bench.plugins.module_utils")
            )
            assert allowed, f"line {node.lineno} imports {name}"


#: Plugins whose test lives elsewhere, each with the reason.
TESTED_ELSEWHERE: dict[str, str] = {}


@pytest.mark.parametrize("path", [path for path in PLUGINS if "doc_fragments" not in path.parts], ids=name_of)
def test_every_plugin_has_a_test_file(path):
    """plugins/a/b.py is tested by tests/unit/plugins/a/test_b.py, or by test_b_*.py beside it."""
    if name_of(path) in TESTED_ELSEWHERE:
        return
    if path.parent.name == "modules" and (ROOT / "plugins" / "action" / path.name).is_file():
        return  # the documentation of an action; the action has the test
    folder = ROOT / "tests" / "unit" / path.parent.relative_to(ROOT)
    assert (folder / f"test_{path.stem}.py").is_file() or list(folder.glob(f"test_{path.stem}_*.py")), (
        f"no test_{path.stem}.py in {name_of(folder)}"
    )


# settings and files


def test_ansible_knows_every_setting():
    asked = subprocess.run(
        [Path(sys.executable).with_name("ansible-config"), "validate"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ANSIBLE_CONFIG": ""},
    )
    assert asked.returncode == 0, asked.stdout + asked.stderr


def test_the_links_that_make_the_clone_a_collection_lead_somewhere():
    folder = ROOT / "collections" / "ansible_collections" / "kjoule" / "bench"
    links = list(folder.iterdir())
    assert {"galaxy.yml", "meta", "playbooks", "plugins", "roles"} <= {link.name for link in links}
    for link in links:
        assert link.is_symlink()
        assert not os.readlink(link).startswith("/")
        assert link.resolve() == ROOT / link.name


def listed(inventory: str) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("ansible-inventory"), "-i", ROOT / "inventories" / inventory, "--list"]
    unset = {key: value for key, value in os.environ.items() if not key.startswith("HETZNER_ROBOT")}
    return subprocess.run(command, cwd=ROOT, env=unset, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("inventory", "hosts"),
    [
        ("local", {"local"}),
        ("baremetal", {"node1"}),
        ("equinix", {"kjoule-c3-small-1"}),
        ("vagrant", {"debian", "ubuntu", "rocky"}),
    ],
)
def test_every_inventory_is_one_that_ansible_reads(inventory, hosts):
    done = listed(inventory)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["_meta"]["hostvars"]) == hosts


def test_the_inventory_of_a_provider_says_what_it_needs():
    assert "Required config 'hetzner_user'" in listed("hetzner").stderr


def test_a_playbook_can_be_called_by_its_full_name():
    assert [path.name for path in (ROOT / "playbooks").glob("*.yml") if "-" in path.name] == []


#: Written in two halves, so that this file does not find itself.
FORBIDDEN = {
    "the name of a package registry": ["pypi" + ".org", "pythonhosted" + ".org", "registry.npmjs" + ".org", "galaxy.ansible" + ".com"],
    "a home of somebody": ["/ro" + "ot/", "/ho" + "me/", "/Use" + "rs/"],
    "an unresolved merge": ["<" * 7 + " ", ">" * 7 + " "],
}


def test_no_file_holds_what_belongs_to_one_machine_or_registry():
    found = []
    for path in tracked():
        text = path.read_bytes().decode("utf-8", errors="ignore")
        found += [f"{name_of(path)}: {reason} ({word})" for reason, words in FORBIDDEN.items() for word in words if word in text]
    assert found == []


def test_what_can_be_executed_says_with_what():
    for path in tracked():
        if os.access(path, os.X_OK):
            assert path.read_bytes().startswith(b"#!"), name_of(path)


def test_relative_links_in_the_documents_lead_somewhere():
    broken = []
    for path in tracked():
        if path.suffix == ".md":
            for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
                if "://" not in target and not target.startswith("mailto:") and not (path.parent / target).exists():
                    broken.append(f"{name_of(path)}: {target}")
    assert broken == []
