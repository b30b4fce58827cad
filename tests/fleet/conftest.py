"""The image, built once for all tests: the build stage's commands outside a container, and the final stage's files laid out."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import certifi
import pytest

import image
from files import ROOT

# What the base image (distroless/cc) has beside the C library, as far as the gateway meets it. Its list of packages is its
# makers' and is not checked here: glibc, libgcc, the CA bundle at Debian's place, /tmp, and a passwd with its user.
CA_BUNDLE = "etc/ssl/certs/ca-certificates.crt"
PASSWD = "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n"
BASE_LIBRARIES = {"libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}


def target():
    folder = Path(os.environ.get("CARGO_TARGET_DIR", "target"))
    return folder if folder.is_absolute() else ROOT / folder


def profile():
    """`dist` builds what the image ships, for many minutes; any other profile builds the same program sooner."""
    return os.environ.get("FLEET_PROFILE", "release")


@dataclass
class Image:
    build_root: Path
    root: Path
    owners: dict
    variables: dict
    context: Path

    @property
    def binary(self):
        return self.root / "usr/local/bin/tokenbroker"


def as_here(command):
    """The command as it is done here: nothing is installed, and the program is built as it ships only where `dist` is asked for."""
    if "apt-get install" in command:
        return "true"
    if profile() == "dist":
        return command
    build = f"cargo build --locked --profile {profile()} --bin tokenbroker"
    # cargo compares times, and a copied file keeps its own, which may be older than the last build.
    plain = f"touch src/lib.rs src/main.rs && {build} && mkdir -p target/ship && cp target/{profile()}/tokenbroker target/ship/"
    return command.replace("scripts/ship", plain)


def fresh_build_folder():
    """The build stage's root, empty but for cargo's target folder. Where there is none yet, it begins with the dependencies that
    the repository's own build has: their fingerprints do not depend on where the sources lie."""
    root = target() / "fleet/build-root"
    build, ours = root / "build", target() / profile()
    build.mkdir(parents=True, exist_ok=True)
    for entry in build.iterdir():
        if entry.name != "target":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    for part in (".fingerprint", "build", "deps"):
        into = build / "target" / profile() / part
        if (ours / part).is_dir() and not into.exists():
            shutil.copytree(ours / part, into, copy_function=os.link)
    return root


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    context = image.context(tmp_path_factory.mktemp("context"))
    root = tmp_path_factory.mktemp("image")
    build_stage, final_stage = image.stages()
    build_root = fresh_build_folder()
    image.build(build_stage, context, build_root, as_here)
    owners, variables = image.final(final_stage, context, {build_stage.name: build_root}, root)
    laid = Image(build_root, root, owners, variables, context)
    for library in image.library_files(laid.binary):
        image.copy_file(library, root / str(library).lstrip("/"))
    for folder in ("proc", "tmp"):
        (root / folder).mkdir()
    # pytest's folders are for their owner alone; an image's root is for everybody.
    root.chmod(0o755)
    (root / "etc/passwd").write_text(PASSWD)
    image.copy_file(Path(certifi.where()), root / CA_BUNDLE)
    return laid


@pytest.fixture(scope="session")
def binary():
    path = Path(os.environ.get("TOKENBROKER_BIN", target() / "release/tokenbroker"))
    return str(path if path.is_absolute() else ROOT / path)
