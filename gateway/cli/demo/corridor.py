"""Two zones on this machine: made, started, paired, enrolled, stopped and killed, all by the real code paths.

::

    with Corridor.make(directory) as corridor:
        corridor.start()
        corridor.pair()
        um = corridor.zone("cyberjaya").enrol("um")

Each gateway is a process of its own (`tdz zone serve`); leaving the context ends both.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

from gateway.cli.demo.ports import LoopbackPorts
from gateway.cli.zone_init import init_zone
from gateway.config import Address, GatewaySettings, Profile, ZoneLayout, load_settings, write_file, write_profile
from gateway.errors import ConfigError, ConflictError, NotFoundError, PeerUnavailableError, TdzError
from gateway.identity.authority import make_request
from gateway.identity.card import read_card
from gateway.identity.keys import key_fingerprint, write_private_key
from gateway.model.participant import Identity, Role
from gateway.sdk.admin import Admin, connect_admin

ADMIN: Final = "operator"

_START_DEADLINE_S: Final = 30.0
_STOP_DEADLINE_S: Final = 10.0
_LOOK_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class ZoneSpec:
    """A zone to make."""

    name: str
    jurisdiction: Literal["CN", "MY"]


ZONES: Final = (ZoneSpec("cyberjaya", "MY"), ZoneSpec("lingang", "CN"))


class ZoneProcess:
    """One zone: its directory, and its gateway as a process of its own.

    Args:
        directory: made by `tdz zone init`.

    Raises:
        ConfigError: it is no zone's directory.
    """

    def __init__(self, directory: Path) -> None:
        self.settings: GatewaySettings = load_settings(directory)
        self.process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"ZoneProcess({self.name} at {self.settings.endpoint}, {'running' if self.running else 'stopped'})"

    @property
    def name(self) -> str:
        """The zone's name."""
        return self.settings.zone

    @property
    def layout(self) -> ZoneLayout:
        """Where everything of the zone stands."""
        return self.settings.layout

    @property
    def running(self) -> bool:
        """Whether the gateway's process lives."""
        return self.process is not None and self.process.poll() is None

    def profile(self, id: str) -> Path:  # noqa: A002  the identity's own word
        """The profile of an identity that was enrolled here."""
        return self.layout.identity(id) / "profile.toml"

    @contextlib.contextmanager
    def admin(self) -> Iterator[Admin]:
        """A connection as the zone's first administrator."""
        with connect_admin(self.profile(ADMIN)) as connected:
            yield connected

    def launch(self) -> None:
        """Start the gateway's process; what it prints goes to gateway.log.

        Raises:
            ConflictError: it runs already.
        """
        if self.running:
            raise ConflictError(f"the gateway of {self.name} runs already")
        command = [sys.executable, "-m", "gateway.cli.main", "zone", "serve", str(self.layout.root)]
        with self.layout.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def wait_ready(self, deadline_s: float = _START_DEADLINE_S) -> None:
        """Wait until the gateway answers.

        Raises:
            ConfigError: its process ended; the text shows the end of its log.
            PeerUnavailableError: it did not answer in time.
        """
        until = time.monotonic() + deadline_s
        with self.admin() as admin:
            while True:
                try:
                    admin.wait_ready(_LOOK_S)
                    return
                except PeerUnavailableError:
                    if not self.running:
                        raise self._ended() from None
                    if time.monotonic() > until:
                        raise

    def start(self) -> None:
        """Start the gateway and wait until it answers; errors as `launch` and `wait_ready`."""
        self.launch()
        self.wait_ready()

    def stop(self) -> None:
        """Ask the gateway to end (SIGTERM), and kill it where it does not in time."""
        process = self.process
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(_STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the gateway at once (SIGKILL), as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(_STOP_DEADLINE_S)

    def enrol(self, id: str, role: Role = Role.PARTNER) -> Path:  # noqa: A002  the identity's own word
        """Make keys and requests, have them approved by their fingerprints, and write the profile.

        A partner gets a key for signing models beside the one for connecting.

        Returns:
            The profile's path.

        Raises:
            TdzError: the gateway refused.
        """
        identity = Identity(self.name, role, id)
        directory = self.layout.identity(id)
        directory.mkdir(mode=0o700)
        signs = role is Role.PARTNER
        self._certify(identity, directory / "key.pem", directory / "cert.pem")
        if signs:
            self._certify(identity, directory / "signing-key.pem", directory / "signing.pem", signing=True)
        write_profile(
            self.profile(id),
            Profile(
                zone=self.name,
                gateway=self.settings.endpoint,
                ca=self.layout.ca,
                cert=directory / "cert.pem",
                key=directory / "key.pem",
                signing_key=directory / "signing-key.pem" if signs else None,
                signing_certificate=directory / "signing.pem" if signs else None,
            ),
        )
        return self.profile(id)

    def _certify(self, identity: Identity, key_file: Path, certificate: Path, *, signing: bool = False) -> None:
        key, request = make_request(identity)
        write_private_key(key_file, key)
        with self.admin() as admin:
            approval = admin.approve(
                request.decode("ascii"),
                role=identity.role.value,
                id=identity.id,
                key_fingerprint=key_fingerprint(key.public_key()),
                signing=signing,
            )
        if approval.certificate is None:
            raise ConflictError(f"{identity.uri} waits for {approval.missing} more approval(s)")
        write_file(certificate, approval.certificate.pem.encode("ascii"), mode=0o644)

    def register(
        self,
        id: str,  # noqa: A002  the identity's own word
        exporter: Mapping[str, Any],
        recipient: Mapping[str, Any],
        *,
        screening: str = "clear",
        lists: str = "demo-lists-1",
    ) -> None:
        """Put an institution into the register and set its screening result.

        Args:
            id: of a partner that was enrolled.
            exporter: that part of the policy input; `id` may be left out.
            recipient: that part of the policy input; `id` and `screening` may be left out.
            screening: clear, hit or unknown.
            lists: revision of the lists that were searched.

        Raises:
            TdzError: the gateway refused; InputError names the field.
        """
        with self.admin() as admin:
            admin.put_participant(id, exporter, recipient)
            admin.screen(id, list_revision=lists, result=screening)

    def _ended(self) -> ConfigError:
        code = None if self.process is None else self.process.poll()
        try:
            lines = self.layout.log.read_text("utf-8", "replace").split("\n")
        except OSError:
            lines = []
        said = next((line.strip() for line in reversed(lines) if line.strip()), "its log is empty")
        return ConfigError(f"the gateway of {self.name} ended with {code}: {said}", remedy=f"see {self.layout.log}")


class Corridor:
    """Two zones and what stands between them; a context that ends both gateways.

    Args:
        directory: holds one directory for each zone.
        zones: the zones, as made.
        ports: keeps others from drawing the zones' ports, as long as the corridor lives.
    """

    def __init__(self, directory: Path, zones: Sequence[ZoneProcess], ports: LoopbackPorts | None = None) -> None:
        self.directory = directory
        self._ports = ports
        self.zones = tuple(zones)

    @classmethod
    def make(cls, directory: Path, specs: Sequence[ZoneSpec] = ZONES, *, admins: Sequence[str] = (ADMIN,)) -> Corridor:
        """Make zones on free ports of the loopback interface; nothing is started.

        Args:
            directory: gets one directory for each zone.
            specs: the zones.
            admins: ids of each zone's first administrators.

        Raises:
            ConfigError: a zone's directory is there already, or cannot be made.
        """
        ports = LoopbackPorts(len(specs))
        zones = []
        for spec, port in zip(specs, ports.numbers, strict=True):
            address = Address("127.0.0.1", port)
            init_zone(
                directory / spec.name,
                zone=spec.name,
                jurisdiction=spec.jurisdiction,
                listen=address,
                endpoint=address,
                names=("127.0.0.1", "localhost"),
                admins=admins,
            )
            zones.append(ZoneProcess(directory / spec.name))
        return cls(directory, zones, ports)

    @classmethod
    def open(cls, directory: Path, names: Sequence[str] = tuple(spec.name for spec in ZONES)) -> Corridor:
        """The zones of a directory that `make` filled before; nothing is started.

        Raises:
            ConfigError: a zone is not there.
        """
        return cls(directory, [ZoneProcess(directory / name) for name in names])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def zone(self, name: str) -> ZoneProcess:
        """A zone by its name.

        Raises:
            NotFoundError: there is no such zone.
        """
        for zone in self.zones:
            if zone.name == name:
                return zone
        raise NotFoundError(f"no zone {name} in {self.directory}")

    def start(self) -> None:
        """Start both gateways side by side and wait until both answer.

        Raises:
            TdzError: one did not start; both are ended then.
        """
        try:
            for zone in self.zones:
                zone.launch()
            for zone in self.zones:
                zone.wait_ready()
        except TdzError:
            self.stop()
            raise

    def stop(self) -> None:
        """End both gateways; killed where they do not end in time."""
        for zone in self.zones:
            if zone.running and zone.process is not None:
                zone.process.terminate()
        for zone in self.zones:
            zone.stop()

    def pair(self) -> None:
        """Pair every zone with every other, each by the fingerprint of the other's card.

        Raises:
            TdzError: a gateway refused.
        """
        for zone in self.zones:
            for other in self.zones:
                if zone is not other:
                    card = read_card(other.layout.card.read_bytes())
                    with zone.admin() as admin:
                        admin.pair(card.data, card.fingerprint)
