"""Sign records with SSH keys, by OpenSSH's `ssh-keygen -Y`; `pipeline.review.verify` checks them."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.review.verify import NAMESPACE


@dataclass(frozen=True)
class Signer:
    """A key that signs. `fingerprint`: `SHA256:…` of its public half."""

    path: Path
    fingerprint: str

    def sign(self, text: str) -> str:
        """Sign a line; returns the armoured signature.

        Raises:
            ConfigError: if the key cannot sign, for example because its passphrase was not given.
        """
        return _keygen(["-Y", "sign", "-q", "-n", NAMESPACE, "-f", str(self.path)], text, f"sign_key={self.path}")


def open_signer(path: str | None) -> Signer | None:
    """Open a private key, or the public half of one that the SSH agent holds; None without a path.

    Raises:
        ConfigError: if it is no key.
    """
    if not path:
        return None
    file = Path(path).expanduser().absolute()
    if not file.is_file():
        raise ConfigError(f"sign_key={path}: no file at {file}; pass the path of an SSH key.")
    return Signer(file, _keygen(["-l", "-E", "sha256", "-f", str(file)], "", f"sign_key={file}").split()[1])


def _keygen(words: list[str], text: str, what: str) -> str:
    try:
        done = subprocess.run(
            ["ssh-keygen", *words], input=text, capture_output=True, text=True, encoding="utf-8", timeout=120
        )
    except FileNotFoundError:
        raise ConfigError(f"{what}: ssh-keygen is not installed; install OpenSSH 8.9 or newer.") from None
    except subprocess.TimeoutExpired:
        raise ConfigError(f"{what}: ssh-keygen did not answer within two minutes.") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-200:]
        raise ConfigError(f"{what}: ssh-keygen refuses ({said}).")
    return done.stdout + done.stderr
