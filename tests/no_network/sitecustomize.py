"""Put this folder on PYTHONPATH and no process under it reaches anything but itself: lessons must work with
no network.

An audit hook cannot be taken out again, and it is there before a kernel's first cell. Loopback stays open
(the kernel speaks to its front end over it), and so do sockets that are files.
"""

import importlib.machinery
import importlib.util
import ipaddress
import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
_LOCAL = {"", "localhost", "ip6-localhost"}


def _refused(host) -> bool:
    if host is None:
        return False
    name = host.decode("ascii", "replace") if isinstance(host, (bytes, bytearray)) else str(host)
    if name in _LOCAL:
        return False
    try:
        address = ipaddress.ip_address(name.split("%")[0])
    except ValueError:
        return True  # a name: looking it up is already a question to the network
    return not (address.is_loopback or address.is_unspecified)


def _hook(event, arguments):
    if event == "socket.getaddrinfo" or event == "socket.gethostbyname":
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1] if len(arguments) > 1 else None
        if not isinstance(address, tuple):
            return  # a socket file, or an address given earlier
        host = address[0]
    else:
        return
    if _refused(host):
        raise PermissionError(f"no network in lessons and tests: {event} to {host!r} was refused")


sys.addaudithook(_hook)

# This file hides another sitecustomize further down the path (a distribution's, a coverage tool's): run that,
# too.
_rest = [p for p in sys.path if os.path.abspath(p or ".") != _HERE]
_other = importlib.machinery.PathFinder.find_spec("sitecustomize", _rest)
if _other is not None and _other.loader is not None and _other.origin != __file__:
    try:
        _other.loader.exec_module(importlib.util.module_from_spec(_other))
    except Exception:
        pass
