"""What the operator says on the command line of ``twist sayci``, or in SAYCI_* environment variables."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from sayci import __version__
from sayci.buildlog import OUTPUT_LIMIT
from sayci.errors import Invalid
from sayci.image import check_image
from sayci.limits import LEAST, MOST, Limits
from sayci.retention import Keep
from sayci.space import Reserves, reserve_of

#: Below the uids that systemd gives to services, above those that people are given.
SLOT_UID = 60600
DEFAULT_PORT = "tcp:8080:interface=127.0.0.1"
#: The words of --isolation.
WAYS = ("auto", "users", "bubblewrap", "none")
PROCESS_LIMIT = 2048
WORKSPACE_LIMIT = 20 << 30
OPEN_FILES_LIMIT = 16384
GITHUB_URL, GITHUB_API = "https://github.com", "https://api.github.com"
LAUNCHERS = ("local", "docker")
_SECRET_VARIABLE = "SAYCI_GITHUB_CLIENT_SECRET"  # noqa: S105 - a variable's name


@dataclass(frozen=True, slots=True)
class AcmeSettings:
    """What the operator has decided about certificates; it holds for every port that begins with le: or lets:.

    `hosts` are names to have a certificate for, beside those that the port's directory has.  `authority` is the address of
    an ACME directory; "" takes the one that the port names.  `binding` is the file with the key of an account that the
    authority has given out, and that account's identifier.  `http_port` is where HTTP-01 is answered.
    """

    hosts: tuple[str, ...] = ()
    authority: str = ""
    authority_certificates: Path | None = None
    email: str = ""
    profile: str = ""
    binding: tuple[str, Path] | None = None
    http_port: str = ""


@dataclass(frozen=True, slots=True)
class ContainerSettings:
    """What the operator has decided about containers: the engine's socket, and what projects get that say nothing.

    `image` is "" where each project has to name its own.  `processors` is how many of them a step may take, 0 for all.
    """

    socket: Path = Path("/var/run/docker.sock")
    image: str = ""
    network: str = "bridge"
    processors: float = 0.0


@dataclass(frozen=True, slots=True)
class GitHubSettings:
    """How this server is known to the forge at which people have accounts.

    `scope` is what it asks for, "" for nothing; `recheck` is in seconds.
    """

    client_id: str
    client_secret: str = field(repr=False)
    scope: str = ""
    recheck: float = 3600.0


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What the operator has decided, checked.  Times are in seconds; a `wait` of None is without end.

    `limits` are what every step may take, and no project can allow itself more.  Of them a memory_limit of 0 is to be made
    from what this machine has.  `containers` is None where steps run in none, and `github` where nobody signs in by it.
    """

    ports: tuple[str, ...]
    acme: AcmeSettings
    data: Path
    database: str
    public_url: str
    slots: int
    slot_uid: int
    isolation: str
    allowed_schemes: frozenset[str]
    github_url: str
    github_api: str
    grace: float
    reserves: Reserves
    keep: Keep
    catch_up: float
    drain: float
    wait: float | None
    limits: Limits
    sample: bool
    sign_in_link: bool
    containers: ContainerSettings | None = None
    github: GitHubSettings | None = None


def _address(value: str) -> str:
    if not re.match(r"https?://[^\s/?#@]+(?:/[^\s?#]*)?\Z", value):
        raise Invalid("not an http or https address", value)
    return value.rstrip("/")


def _authority(value: str) -> str:
    if not re.match(r"https://[^\s#@]+\Z|http://(?:127\.0\.0\.1|localhost|\[::1\])[:/][^\s#@]*\Z", value):
        raise Invalid("an ACME authority's directory is an https address", value)
    return value


def _email(value: str) -> str:
    if not re.fullmatch(r"[^\s@<>,;:\"]{1,64}@[^\s@<>,;:\"]{1,255}", value):
        raise Invalid("not an e-mail address", value)
    return value


def _binding(identifier: str, key_file: str) -> tuple[str, Path] | None:
    if bool(identifier) != bool(key_file):
        raise Invalid("--acme-eab-kid and --acme-eab-key-file belong together")
    return (identifier, Path(key_file).absolute()) if identifier else None


def _network(name: str) -> str:
    if name == "host" or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        raise Invalid("not a network that builds can have: bridge, none, or one of docker network ls but host", name)
    return name


def _processors(value: str) -> float:
    if not re.fullmatch(r"[0-9]{1,4}(?:\.[0-9]{1,2})?", value):
        raise Invalid("not a number of processors, such as 1.5; 0 for all", value)
    return float(value)


def _number(value: str, least: int, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,15}", value) or not least <= int(value) <= most:
        raise Invalid("not a whole number between the least and the most that is allowed", value, least, most)
    return int(value)


def _one_of(word: str, words: Sequence[str]) -> str:
    if word not in words:
        raise Invalid("not one of the words that are allowed", word, *words)
    return word


def _schemes(words: Sequence[str]) -> frozenset[str]:
    for word in words:
        if word not in ("file", "http"):
            raise Invalid("only the schemes file and http can be allowed; https and ssh always are", word)
    return frozenset({"https", "ssh", *words})


class Options(UsageOptions):
    """The options of ``twist sayci``; `settings` has them all, checked, once they are parsed."""

    synopsis = "[options]"
    longdesc = (
        "A CI/CD server for projects with a Makefile. Each option can also be given as an environment variable: SAYCI_ "
        "and its name in capitals with underscores, such as SAYCI_PUBLIC_URL; there, several ports or schemes are "
        "separated by spaces, and a flag is 1. What the command line says wins."
    )
    optParameters: ClassVar[list[list[str | None]]] = [
        ["data", "d", "var", "The data directory: database, keys, logs, mirrors. It is made if it is not there."],
        ["database", None, "", "Database URL; by default an SQLite file in the data directory."],
        ["public-url", "u", "", "The address by which people and forges reach this server; by default from the port."],
        ["slots", "s", "2", "How many builds run side by side."],
        [
            "slot-uid",
            None,
            str(SLOT_UID),
            "As root, give each running build a user of its own: one of the uids after this one. 0 gives none.",
        ],
        [
            "isolation",
            None,
            WAYS[0],
            "What keeps builds from the server: users (of their own, as root), bubblewrap, none; auto takes the best.",
        ],
        ["launcher", None, "local", "Where steps run: local, or docker for a container of each step's own."],
        ["docker-image", None, "", "What the steps of projects run in that name no image of their own."],
        ["docker-network", None, "bridge", "The network of the containers; none for no network."],
        ["docker-cpus", None, "0", "How many processors a container may take, such as 1.5; 0 for all."],
        ["docker-socket", None, "/var/run/docker.sock", "Where the Docker Engine listens."],
        ["acme-directory", None, "", "Directory address of another ACME authority than Let's Encrypt, for le: ports."],
        ["acme-ca-file", None, "", "PEM file with the authority's own root certificate, where the system has it not."],
        ["acme-email", None, "", "Address for the authority to write to."],
        ["acme-profile", None, "", "Which of the authority's certificate profiles to ask for, such as shortlived."],
        ["acme-eab-kid", None, "", "Identifier of the account that the authority gave you (external account binding)."],
        ["acme-eab-key-file", None, "", "File with that account's key, as the authority writes it (base64url)."],
        ["acme-http", None, "", "Endpoint, such as tcp:80, to answer HTTP-01 at, and to send people to https from."],
        ["github-url", None, GITHUB_URL, "Address of the forge; another one for GitHub Enterprise."],
        [
            "github-api",
            None,
            "",
            f"Base address of the forge's API; by default {GITHUB_API}, or /api/v3 of another --github-url.",
        ],
        [
            "github-client-id",
            None,
            "",
            "The client ID of a GitHub App or OAuth app, for people to sign in with GitHub.",
        ],
        [
            "github-client-secret-file",
            None,
            "",
            "File with its client secret, for its owner alone. In the environment also SAYCI_GITHUB_CLIENT_SECRET.",
        ],
        [
            "github-scope",
            None,
            "",
            "What an OAuth app asks for: repo for private repositories. Nothing for a GitHub App.",
        ],
        ["github-recheck", None, "3600", "Seconds between two looks whether people may still read the repositories."],
        ["grace", None, "10", "Seconds between asking a step to end and killing it."],
        [
            "output-limit",
            None,
            str(OUTPUT_LIMIT),
            "Bytes of a step's output that are kept; more is dropped and counted.",
        ],
        [
            "keep-free",
            None,
            "1G,5%",
            "What stays free of the disk: with less no build begins. An amount, a share, or the lesser of both.",
        ],
        ["keep-days", None, "365", "Builds that ended longer ago are removed, in days; 0 keeps them for ever."],
        ["keep-builds", None, "2000", "How many builds of each project are kept, the newest; 0 is no limit."],
        [
            "keep-log-days",
            None,
            "90",
            "Logs of builds that ended longer ago are removed, in days; 0 keeps them for ever.",
        ],
        [
            "keep-log-size",
            None,
            "20G",
            "With more than that on the disk, compressed as they are, the oldest logs are removed; 0 is no limit.",
        ],
        ["keep-delivery-days", None, "90", "Deliveries that came longer ago are removed, in days; 0 keeps them."],
        [
            "keep-body-days",
            None,
            "14",
            "Bodies and headers of deliveries are removed after so many days; 0 keeps them.",
        ],
        ["keep-free-files", None, "10000,2%", "The same of the files (inodes) that the disk has room for."],
        [
            "catch-up",
            None,
            "3600",
            "Seconds between two looks at each repository for pushes that nobody told of; 0 does not look.",
        ],
        ["drain", None, "0", "Seconds for which a server that is asked to end waits for the builds that run."],
        [
            "wait",
            None,
            "",
            "Seconds to wait for another server that uses the data directory; by default until that has ended.",
        ],
        ["memory-limit", None, "0", "Bytes of memory for the processes of a step; 0: three quarters of what there is."],
        ["process-limit", None, str(PROCESS_LIMIT), "Processes and threads of a step that may be there at a time."],
        ["workspace-limit", None, str(WORKSPACE_LIMIT), "Bytes that a build may have on the disk."],
        ["open-files-limit", None, str(OPEN_FILES_LIMIT), "Files that a process of a step may have open."],
    ]
    optFlags: ClassVar[list[list[str | None]]] = [
        ["sample", None, "On the first start, register a small bundled project and build it."],
        ["sign-in-link", None, "Print a one-time sign-in link for the administrator, as before anybody has signed in."],
    ]
    settings: ServerSettings

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted states no types here
        self._environment = os.environ if environment is None else environment
        self._repeated: dict[str, list[str]] = {"port": [], "host": [], "allow-url": []}

    def opt_port(self, endpoint: str) -> None:
        """Where to listen: a Twisted endpoint, such as tcp:8080; may be repeated. By default tcp:8080 on loopback.

        le:DIRECTORY:tcp:443 serves https with certificates of Let's Encrypt, kept in DIRECTORY; lets: those of its staging.
        """
        self._repeated["port"].append(endpoint)

    def opt_host(self, name: str) -> None:
        """A host name to get a certificate for, at le: ports; may be repeated. By default the public URL's."""
        self._repeated["host"].append(name)

    def opt_allow_url(self, scheme: str) -> None:
        """Let projects have URLs of this scheme, beside https and ssh: file or http. May be repeated."""
        self._repeated["allow-url"].append(scheme)

    def opt_version(self) -> None:
        """Print the version and exit."""
        sys.stdout.write(f"sayci {__version__}\n")
        raise SystemExit(0)

    opt_p = opt_port

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Read the environment, then the command line; a mistake is one line on the standard error, and exit code 2."""
        for name in [*self]:
            value = self._environment.get(_variable_of(name), "")
            if value:
                self[name] = value
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]  # nor here
            self.settings = self._settings()
        except (UsageError, Invalid) as error:
            sys.stderr.write(f"sayci: {error} (twist sayci --help lists the options)\n")
            raise SystemExit(2) from None

    def _words(self, name: str) -> list[str]:
        return self._repeated[name] or self._environment.get(_variable_of(name), "").split()

    def _flag(self, name: str) -> bool:
        return str(self[name]).lower() in ("1", "true", "yes", "on")

    def _settings(self) -> ServerSettings:
        data = Path(self["data"]).absolute()
        return ServerSettings(
            ports=tuple(self._words("port") or [DEFAULT_PORT]),
            acme=self._acme(),
            data=data,
            database=self["database"] or f"sqlite:///{data}/sayci.sqlite",
            public_url=_address(self["public-url"]) if self["public-url"] else "",
            slots=_number(self["slots"], 1, 1000),
            isolation=_one_of(self["isolation"], WAYS),
            slot_uid=0 if self["slot-uid"] == "0" else _number(self["slot-uid"], 1000, 2_000_000_000),
            allowed_schemes=_schemes(self._words("allow-url")),
            github_url=(github_url := _address(self["github-url"])),
            github_api=_github_api(github_url, self["github-api"]),
            github=self._github(),
            grace=float(_number(self["grace"], 0, 3600)),
            keep=self._keep(),
            reserves=Reserves(reserve_of(self["keep-free"]), reserve_of(self["keep-free-files"])),
            catch_up=float(_number(self["catch-up"], 0, 30 * 24 * 3600)),
            drain=float(_number(self["drain"], 0, 7 * 24 * 3600)),
            wait=float(_number(self["wait"], 0, 7 * 24 * 3600)) if self["wait"] else None,
            limits=self._limits(),
            sample=self._flag("sample"),
            sign_in_link=self._flag("sign-in-link"),
            containers=self._containers(),
        )

    def _limits(self) -> Limits:
        def read(name: str) -> int:
            option = self[name.replace("_", "-")]
            return 0 if option == "0" and name == "memory_limit" else _number(option, LEAST[name], MOST)

        return Limits(
            output_limit=read("output_limit"),
            process_limit=read("process_limit"),
            memory_limit=read("memory_limit"),
            workspace_limit=read("workspace_limit"),
            open_files_limit=read("open_files_limit"),
        )

    def _containers(self) -> ContainerSettings | None:
        given = ContainerSettings(
            socket=Path(self["docker-socket"].removeprefix("unix://")).absolute(),
            image=check_image(self["docker-image"]) if self["docker-image"] else "",
            network=_network(self["docker-network"]),
            processors=_processors(self["docker-cpus"]),
        )
        if self["launcher"] not in LAUNCHERS:
            raise Invalid("there is no such launcher; there are", self["launcher"], *LAUNCHERS)
        return given if self["launcher"] == "docker" else None

    def _github(self) -> GitHubSettings | None:
        client_id, path = self["github-client-id"], self["github-client-secret-file"]
        stated = self._environment.get(_SECRET_VARIABLE, "")
        if not client_id and not path and not stated:
            return None
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", client_id):
            raise Invalid(
                "--github-client-id is the client ID that GitHub has given, such as Iv1.0123456789abcdef", client_id
            )
        secret = _secret_in(Path(path)) if path else stated
        if not secret:
            raise Invalid(
                "--github-client-id needs --github-client-secret-file, or in the environment", _SECRET_VARIABLE
            )
        if not re.fullmatch(r"[!-~]{1,500}", secret):
            raise Invalid("the client secret of GitHub is one word of letters, digits and signs")
        if not re.fullmatch(r"[a-z:_ ,]{0,200}", self["github-scope"]):
            raise Invalid("--github-scope is words such as repo", self["github-scope"])
        recheck = float(_number(self["github-recheck"], 1, 12 * 3600))
        return GitHubSettings(client_id, secret, self["github-scope"], recheck)

    def _keep(self) -> Keep:
        size = reserve_of(self["keep-log-size"]).amount
        if size is None:
            raise Invalid("--keep-log-size is an amount such as 20G", self["keep-log-size"])
        days, builds, log_days, delivery_days, body_days = (
            _number(self[name], 0, 10**6)
            for name in ("keep-days", "keep-builds", "keep-log-days", "keep-delivery-days", "keep-body-days")
        )
        return Keep(days, builds, log_days, size, delivery_days, body_days)

    def _acme(self) -> AcmeSettings:
        given = {name: str(self[f"acme-{name}"]) for name in ("directory", "ca-file", "email", "profile", "http")}
        return AcmeSettings(
            hosts=tuple(self._words("host")),
            authority=_authority(given["directory"]) if given["directory"] else "",
            authority_certificates=Path(given["ca-file"]).absolute() if given["ca-file"] else None,
            email=_email(given["email"]) if given["email"] else "",
            profile=given["profile"],
            binding=_binding(self["acme-eab-kid"], self["acme-eab-key-file"]),
            http_port=given["http"],
        )


def _github_api(url: str, api: str) -> str:
    """docs.github.com, "Using the REST API on GitHub Enterprise Server": it has its API below its own address."""
    if api:
        return _address(api)
    return GITHUB_API if url == GITHUB_URL else f"{url}/api/v3"


def _secret_in(path: Path) -> str:
    """The secret in a file that not everybody on this machine can read."""
    try:
        with path.open(encoding="ascii") as file:
            if os.fstat(file.fileno()).st_mode & 0o007:
                raise Invalid("everybody on this machine can read the client secret of GitHub; say: chmod 600", path)
            return file.read(1000).strip()
    except (OSError, UnicodeDecodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "it is not a text"
        raise Invalid("the file of --github-client-secret-file cannot be read", path, words) from None


def _variable_of(option: str) -> str:
    return "SAYCI_" + option.upper().replace("-", "_")
