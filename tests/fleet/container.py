"""A program in a root of its own, as a container engine would run it: only the image's files, read only, without a network
but loopback, as the image's user and with nothing in its environment but what is given.

Made of util-linux's unshare and nsenter and of the calls that follow, which need root: namespaces of a user would leave no way to
be the user that the image names.
"""

import json
import os
import select
import shlex
import subprocess
import sys
import time
from pathlib import Path

SECONDS = 30

# Loopback comes up by an ioctl (SIOCSIFFLAGS with IFF_UP), so that no tool for networks has to be there.
LOOPBACK_UP = "import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sH', b'lo', 1))"

# What an engine does at last, in the namespaces: the root, the directory, the user, the variables and nothing else.
BECOME = """
import json, os, sys
root, directory, user, variables, command = json.loads(sys.argv[1])
os.chroot(root)
os.chdir(directory)
uid, gid = map(int, user.split(":"))
os.setgroups([])
os.setgid(gid)
os.setuid(uid)
os.execve(command[0], command, variables)
"""


def may_contain():
    """Whether this process may do what a container takes. Inside some sandboxes root may not."""
    return os.geteuid() == 0 and subprocess.run(["unshare", "--mount", "--net", "true"], capture_output=True).returncode == 0


class Container:
    """Namespaces with the root in them, held open by a process that sleeps until it is killed."""

    def __init__(self, root, directory, user, writable, environment):
        self.root, self.directory, self.user, self.environment = Path(root), directory, user, environment
        binds = "".join(f"mount --bind {shlex.quote(str(source))} {shlex.quote(f'{root}/{at}')}; " for at, source in writable.items())
        script = (
            f"set -e; mount --bind {root} {root}; mount -o remount,bind,ro {root}; {binds}"
            f"mount --rbind /proc {root}/proc; mount -t tmpfs -o mode=1777 none {root}/tmp; "
            f"{shlex.quote(sys.executable)} -c {shlex.quote(LOOPBACK_UP)}; echo up; exec sleep infinity"
        )
        self.keeper = subprocess.Popen(["unshare", "--mount", "--net", "sh", "-c", script], stdout=subprocess.PIPE, text=True)
        assert self.keeper.stdout.readline() == "up\n", "the namespaces could not be made"

    def command(self, arguments, environment=None):
        variables = {**self.environment, **(environment or {})}
        given = [str(self.root), self.directory, self.user, variables, ["/usr/local/bin/tokenbroker", *arguments]]
        return self.beside([sys.executable, "-c", BECOME, json.dumps(given)])

    def beside(self, command):
        """A command of this machine in the container's namespaces, for whoever talks to what runs in it."""
        return ["nsenter", f"--target={self.keeper.pid}", "--mount", "--net", *command]

    def run(self, *arguments, environment=None):
        command = self.command(arguments, environment)
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL)

    def serve(self, environment=None):
        return Serving(self.command(["serve", "--json"], environment))

    def ask(self, url, body=None, key=None):
        """Status and body of a request from inside."""
        headers = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
        script = (
            "import json, sys, urllib.request, urllib.error\n"
            "url, body, headers = json.loads(sys.argv[1])\n"
            "request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), headers)\n"
            "try: answer = urllib.request.urlopen(request, timeout=20)\n"
            "except urllib.error.HTTPError as error: answer = error\n"
            "print(json.dumps([answer.status, answer.read().decode()]))\n"
        )
        command = self.beside([sys.executable, "-c", script, json.dumps([url, body, headers])])
        return tuple(json.loads(subprocess.check_output(command, text=True, timeout=SECONDS)))

    def close(self):
        self.keeper.kill()
        self.keeper.wait()
        self.keeper.stdout.close()


class Serving:
    """A gateway that runs inside. What enters the namespaces becomes it, so that signals reach it."""

    def __init__(self, command):
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        self.ready = self._line()

    def _line(self):
        deadline, line = time.monotonic() + SECONDS, b""
        while not line.endswith(b"\n"):
            waiting, _, _ = select.select([self.child.stdout], [], [], max(0, deadline - time.monotonic()))
            piece = os.read(self.child.stdout.fileno(), 4096) if waiting else b""
            if not piece:
                self.child.kill()
                raise RuntimeError(f"it did not get ready: {self.child.stderr.read().decode()}")
            line += piece
        return json.loads(line)

    def signal(self, number):
        self.child.send_signal(number)

    def end(self):
        """Waits for its end; answers its exit code and what it logged."""
        _, log = self.child.communicate(timeout=SECONDS)
        return self.child.returncode, log.decode()

    def kill(self):
        if self.child.poll() is None:
            self.child.kill()
            self.child.communicate()
