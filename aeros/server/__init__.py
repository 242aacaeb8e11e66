"""The handle on a running server, and how one is found."""

from .finding import connect, left_sockets, running_servers
from .handle import Server

__all__ = ["Server", "connect", "left_sockets", "running_servers"]
