"""The hosts of a measurement: a switch as in `network`, with both families and as many names as asked."""

import ipaddress
import subprocess

import network

# Names of the host `tracker`: with its addresses of both families, of one alone, and with an IPv6
# address at which nobody is.
BOTH, IPV4, IPV6, LOST6 = "both.test", "four.test", "six.test", "lost.test"
NAMES = (BOTH, IPV4, IPV6, LOST6)
_PREFIX4 = ipaddress.ip_network(network.PREFIXES["ipv4", "public"])
_PREFIX6 = ipaddress.ip_network(network.PREFIXES["ipv6", "public"])
TRACKER4, TRACKER6 = str(_PREFIX4[10]), str(_PREFIX6[10])
_NOBODY6 = str(_PREFIX6[99])


class Lan(network.Network):
    """Hosts with an address of each family."""

    def __init__(self, number):
        super().__init__(number, "both", "public")

    def add_address(self, host, address):
        """Gives a host one more address, as `address/prefix length`."""
        nodad = "nodad" if ":" in address else ""
        network.ip(f"-n {self._namespaces[host]} address add {address} dev eth0 {nodad}")


def name_trackers(folder):
    """Gives the host `tracker` its names, in an `/etc/hosts` that only these namespaces see."""
    lines = ["127.0.0.1 localhost", "::1 localhost"]
    lines += [f"{TRACKER4} {name}" for name in (BOTH, IPV4, LOST6)]
    lines += [f"{TRACKER6} {name}" for name in (BOTH, IPV6)]
    lines += [f"{_NOBODY6} {LOST6}"]
    for file, content in (("hosts", lines), ("resolv.conf", ["nameserver 127.0.0.1"])):
        (folder / file).write_text("\n".join(content) + "\n")
        subprocess.run(["mount", "--bind", folder / file, f"/etc/{file}"], check=True)
