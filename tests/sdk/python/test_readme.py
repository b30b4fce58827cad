"""The README's Python, run as it stands there but for the address."""

import os
import re
import subprocess
import sys

from gateway import REPOSITORY


def test_the_readme_s_snippet_prints_an_answer(broker):
    text = (REPOSITORY / "README.md").read_text()
    (snippet,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert "http://127.0.0.1:8080/v1" in snippet
    snippet = snippet.replace("http://127.0.0.1:8080/v1", str(broker.client.base_url))
    run = subprocess.run([sys.executable, "-c", snippet], env=os.environ, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip()
