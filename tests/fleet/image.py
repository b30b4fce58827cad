"""The Dockerfile, read instruction by instruction, and as much of it done without a container engine as can be done.

What a stage copies comes from a context that holds what `.dockerignore` lets in. Only what our Dockerfile uses is understood;
anything else is an error, so that nobody believes it was checked.
"""

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from dockerfile_parse import DockerfileParser

from files import ROOT


@dataclass
class Stage:
    image: str
    name: str | None
    instructions: list = field(default_factory=list)

    def values(self, instruction):
        return [value for name, value in self.instructions if name == instruction]

    def value(self, instruction):
        (value,) = self.values(instruction)
        return value


def stages(path=ROOT / "Dockerfile"):
    found = []
    for step in DockerfileParser(fileobj=path.open("rb")).structure:
        instruction, value = step["instruction"], step["value"]
        if instruction == "FROM":
            image, _, name = value.partition(" AS ")
            found.append(Stage(image, name or None))
        elif instruction != "COMMENT":
            found[-1].instructions.append((instruction, value))
    return found


def pairs(value):
    """`a="1" b=2` of an ENV or LABEL."""
    return dict(word.split("=", 1) for word in shlex.split(value))


def let_in(path, rules):
    """Docker's rule: the last line that fits a path or a folder above it decides; a path that none fits comes in."""
    inside = True
    parts = Path(path).parts
    above = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    for rule in rules:
        pattern = rule.removeprefix("!").strip("/")
        if any(fnmatch.fnmatchcase(folder, pattern) and folder.count("/") == pattern.count("/") for folder in above):
            inside = rule.startswith("!")
    return inside


def context(folder):
    """Copies what git knows and `.dockerignore` lets in."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    listed = subprocess.check_output(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT)
    for name in filter(None, listed.decode().split("\0")):
        if let_in(name, rules) and (ROOT / name).is_file():
            copy_file(ROOT / name, Path(folder) / name)
    return Path(folder)


def copy_file(source, to):
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, to)


def copied(value, context, stage_roots):
    """The options, the sources and the target of a COPY, the sources as paths of this machine."""
    words = shlex.split(value)
    options = dict(word[2:].split("=", 1) for word in words if word.startswith("--"))
    *sources, target = (word for word in words if not word.startswith("--"))
    root = stage_roots[options["from"]] if "from" in options else context
    return options, [root / source.lstrip("/") for source in sources], target


def lay(sources, target, into):
    """COPY's way: a folder's content, or files, into a folder; a file to a name."""
    for source in sources:
        if source.is_dir():
            shutil.copytree(source, into, dirs_exist_ok=True)
        else:
            copy_file(source, into / source.name if target.endswith("/") or into.is_dir() else into)


def build(stage, context, root, adapt):
    """Does a build stage's instructions below `root`, each RUN as `adapt` changes it."""
    here = root
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TOKENBROKER", "CARGO_TARGET"))}
    for instruction, value in stage.instructions:
        if instruction == "WORKDIR":
            here = root / value.lstrip("/")
            here.mkdir(parents=True, exist_ok=True)
        elif instruction == "COPY":
            _, sources, target = copied(value, context, {})
            lay(sources, target, here / target if target not in (".", "./") else here)
        elif instruction == "RUN":
            subprocess.run(["sh", "-ec", adapt(value)], cwd=here, check=True, env=environment)
        else:
            raise NotImplementedError(f"a build stage with {instruction}")


def final(stage, context, stage_roots, root):
    """Lays the final stage's files below `root`; answers who owns what, and the variables that the image sets."""
    here, owners, variables = Path("/"), {}, {}
    for instruction, value in stage.instructions:
        if instruction == "WORKDIR":
            here = Path(value)
            (root / value.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif instruction == "COPY":
            options, sources, target = copied(value, context, stage_roots)
            into = Path(os.path.normpath(here / target))
            lay(sources, target, root / str(into).lstrip("/"))
            if "chown" in options:
                owners[str(into)] = options["chown"]
        elif instruction == "ENV":
            variables |= pairs(value)
        elif instruction not in ("LABEL", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"):
            raise NotImplementedError(f"a final stage with {instruction}")
    return owners, variables


def libraries(binary):
    """The names of the shared libraries that a program asks for."""
    read = subprocess.check_output(["readelf", "--dynamic", "--wide", binary], text=True)
    return set(re.findall(r"\(NEEDED\).*\[(.+)\]", read))


def library_files(binary):
    """Where this machine has them, the loader included."""
    listed = subprocess.check_output(["ldd", binary], text=True)
    return {Path(path) for path in re.findall(r"(/\S+) \(0x", listed)}
