"""A round of the law in a network of its own, in which there is nothing but this machine."""

import fcntl
import json
import socket
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
from benchmarks.paper_law import Case, play

IFF_UP, SIOCGIFFLAGS, SIOCSIFFLAGS = 0x1, 0x8913, 0x8914


def raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        name = struct.pack("16sh", b"lo", 0)
        flags = struct.unpack("16sh", fcntl.ioctl(any_socket, SIOCGIFFLAGS, name))[1]
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh", b"lo", flags | IFF_UP))


def main() -> None:
    case, folder, seed, rate, kills = json.loads(sys.argv[1])
    raise_loopback()
    case["options"] = tuple(case["options"])
    done = play(Case(**case), Path(folder), seed=seed, rate=rate, kills=kills)
    print(json.dumps({**vars(done), "reached": reaches_out()}))


def reaches_out() -> bool:
    """Whether a packet to the outside finds a way."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside:
        try:
            outside.connect(("192.0.2.1", 53))
        except OSError:
            return False
    return True


if __name__ == "__main__":
    main()
