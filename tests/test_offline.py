"""Nothing but loopback is reached from a sub-process of the tests."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

REFUSED = {
    "a name": "import socket; socket.getaddrinfo('example.org', 80)",
    "a name, the old way": "import socket; socket.gethostbyname('example.org')",
    "an address": "import socket; socket.create_connection(('192.0.2.1', 80), timeout=5)",
    "an IPv6 address": "import socket; socket.socket(socket.AF_INET6).connect(('2001:db8::1', 80))",
    "a datagram": "import socket as s; s.socket(type=s.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 9))",
    "a child of the process": "import subprocess, sys; "
    "p = subprocess.run([sys.executable, '-c', 'import socket; "
    "socket.getaddrinfo(chr(97) + chr(46) + chr(98), 80)'], stderr=subprocess.PIPE, text=True); "
    "print(p.stderr); raise PermissionError if 'no network' in p.stderr else SystemExit(0)",
}


@pytest.mark.parametrize("what", REFUSED)
def test_outside_is_refused(what):
    done = subprocess.run([sys.executable, "-c", REFUSED[what]], capture_output=True, text=True)
    assert done.returncode != 0
    assert "no network" in done.stderr + done.stdout


def test_loopback_works():
    code = (
        "import socket; s = socket.create_server(('127.0.0.1', 0)); "
        "c = socket.create_connection(s.getsockname()); c.sendall(b'hi'); a, _ = s.accept(); print(a.recv(2))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "hi" in done.stdout


def test_no_proxy_is_left():
    assert not [name for name in os.environ if name.lower() in ("http_proxy", "https_proxy", "all_proxy")]
