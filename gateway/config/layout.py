"""Where everything of one zone's gateway stands below its directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gateway.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ZoneLayout:
    """Where everything of one zone's gateway stands below its directory; the names are fixed."""

    root: Path

    @property
    def settings(self) -> Path:
        """`gateway.toml`."""
        return self.root / "gateway.toml"

    @property
    def card(self) -> Path:
        """The zone's signed card."""
        return self.root / "card.json"

    @property
    def ca(self) -> Path:
        """The zone CA's certificate."""
        return self.root / "ca.pem"

    @property
    def keys(self) -> Path:
        """The private keys, 0700; never exported."""
        return self.root / "keys"

    @property
    def ca_key(self) -> Path:
        """The zone CA's key (P-256, PKCS #8 PEM)."""
        return self.keys / "ca.key"

    @property
    def statement_key(self) -> Path:
        """The statement key (Ed25519, PKCS #8 PEM)."""
        return self.keys / "statement.key"

    @property
    def log_key(self) -> Path:
        """The log's key (Ed25519)."""
        return self.keys / "log.key"

    @property
    def mirror_key(self) -> Path:
        """The mirror cosigner's key (Ed25519)."""
        return self.keys / "mirror.key"

    @property
    def gateway_key(self) -> Path:
        """The gateway's TLS key (P-256, PKCS #8 PEM)."""
        return self.keys / "gateway.key"

    @property
    def gateway_certificate(self) -> Path:
        """The gateway's TLS certificate."""
        return self.keys / "gateway.pem"

    @property
    def signing_key(self) -> Path:
        """The key with which the gateway signs the models that its runs make (P-256, PKCS #8 PEM)."""
        return self.keys / "signing.key"

    @property
    def signing_certificate(self) -> Path:
        """The certificate of the gateway's signing key."""
        return self.keys / "signing.pem"

    @property
    def subjects_secret(self) -> Path:
        """Under which the persons in datasets are hashed; without it they would be counted anew."""
        return self.keys / "subjects.secret"

    @property
    def identities(self) -> Path:
        """One directory per identity made here."""
        return self.root / "identities"

    @property
    def ledger(self) -> Path:
        """The zone's ledger."""
        return self.root / "ledger"

    @property
    def witness_policy(self) -> Path:
        """The C2SP tlog-policy of the ledger's witnesses; not there without any."""
        return self.root / "witnesses.tlog"

    @property
    def witness_ca(self) -> Path:
        """Certificates of the authorities that witnesses' servers have besides the system's (PEM)."""
        return self.root / "witnesses.pem"

    @property
    def policy(self) -> Path:
        """The zone's policies: trusted keys, bundles, and what was in force."""
        return self.root / "policy"

    @property
    def policy_trust(self) -> Path:
        """The keys that may sign the zone's bundles, `vendor/KEYID.pem` and `zone/KEYID.pem`."""
        return self.policy / "trust"

    @property
    def state(self) -> Path:
        """The state database."""
        return self.root / "state" / "state.db"

    @property
    def policies(self) -> Path:
        """Each policy that was in force, by its digest."""
        return self.root / "policy" / "in-force"

    @property
    def decisions(self) -> Path:
        """The decision log."""
        return self.root / "decisions"

    @property
    def chunks(self) -> Path:
        """The content-addressed chunks."""
        return self.root / "data" / "chunks"

    @property
    def versions(self) -> Path:
        """The manifests and chunk lists of dataset versions."""
        return self.root / "data" / "versions"

    @property
    def landing(self) -> Path:
        """Transfers that are arriving."""
        return self.root / "data" / "landing"

    @property
    def log(self) -> Path:
        """The running gateway's log."""
        return self.root / "gateway.log"

    def identity(self, identifier: str) -> Path:
        """The directory of one identity."""
        return self.identities / identifier

    def create(self) -> None:
        """Make the directories; keys, identities, state and data are for the owner alone.

        Raises:
            ConfigError: a directory cannot be made.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            for private in (self.keys, self.identities, self.state.parent, self.chunks.parent):
                private.mkdir(mode=0o700, exist_ok=True)
                private.chmod(0o700)
            for directory in (self.chunks, self.versions, self.landing):
                directory.mkdir(exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"cannot make {self.root}: {error.strerror}",
                remedy="choose a writable place",
            ) from error
